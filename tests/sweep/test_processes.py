"""Processes for cells: forked from one that has the imports, which may die."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tasks.config.errors import MachineError
from tasks.runtime.parallel.processes import KILLED, Processes
from tests.served import HANG, until

SCENE = "tests.sweep.scenes:obey"


def test_orders_are_carried_out_when_the_one_that_forks_has_died(tmp_path: Path) -> None:
    with Processes(SCENE, ["json"], {}) as processes:
        assert processes.run(str(tmp_path / "first"), tmp_path / "log", {}) == 7
        os.kill(processes._forker.process.pid, signal.SIGKILL)
        assert processes.run(str(tmp_path / "second"), tmp_path / "log", {}) == 7
    assert (tmp_path / "first").exists() and (tmp_path / "second").exists()
    with pytest.raises(MachineError, match="is gone"):
        processes.run(str(tmp_path / "third"), tmp_path / "log", {})


def test_one_that_cannot_start_is_not_started_for_ever(tmp_path: Path) -> None:
    with Processes(SCENE, ["no_such_module"], {}) as processes, pytest.raises(MachineError, match="is gone"):
        processes.run(str(tmp_path / "first"), tmp_path / "log", {})
    assert not (tmp_path / "first").exists()


def test_one_that_dies_takes_nobody_along_and_one_that_is_cancelled_is_asked_to_stop(tmp_path: Path) -> None:
    codes: dict[str, int] = {}
    cancelled = threading.Event()
    with Processes(SCENE, ["json"], {}) as processes:

        def run(name: str) -> None:
            codes[name] = processes.run(str(tmp_path / name), tmp_path / "log", {}, cancelled.is_set)

        threads = [threading.Thread(target=run, args=(name,)) for name in ("wait-1", "wait-2")]
        for thread in threads:
            thread.start()
        until(lambda: (tmp_path / "wait-1").exists() and (tmp_path / "wait-2").exists())
        pid = processes.pid(str(tmp_path / "wait-1"))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: "wait-1" in codes)
        assert codes == {"wait-1": KILLED}
        cancelled.set()
        for thread in threads:
            thread.join(HANG)
    assert codes["wait-2"] == -signal.SIGTERM
