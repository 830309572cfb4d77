"""What children of the warm parent do for the race proofs: run, and say aloud what they build."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.pipeline import pipeline
from tasks.artifacts.store import Store
from tasks.artifacts.upkeep.gc import collect
from tasks.config import load
from tasks.execution.execute import execute
from tasks.runtime.stage import Stage
from tests.kill.scenes import told


def build_aloud(
    config: Mapping[str, Any], events: str, go: str, slowly: float = 0.0, fatal: Sequence[str] = ()
) -> dict[str, Any]:
    """Carry out `config` once `go` is there; append `pid stage` to `events` as each build begins.

    `slowly` makes each build last that many seconds at least. Of the stages in `fatal`, whoever is the first to build
    one is killed at it, once the others wait.
    """
    original = Stage._build

    def aloud(self: Stage, *inputs: Any) -> Any:
        with Path(events).open("a") as file:
            file.write(f"{os.getpid()} {self.name}\n")
        time.sleep(slowly)
        if self.name in fatal:
            with contextlib.suppress(FileExistsError):
                Path(f"{events}.{self.name}").touch(exist_ok=False)
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *inputs)

    Stage._build = aloud  # type: ignore[method-assign]
    loaded = load(config)
    while not Path(go).exists():
        time.sleep(0.01)
    return told(execute(loaded.config, pipeline))


def sweep_until(root: str, stop: str) -> int:
    """Collect all garbage, without grace, again and again; return how often."""
    rounds, parent = 0, os.getppid()
    while not Path(stop).exists() and os.getppid() == parent:  # a failed test leaves no sweeper behind
        collect(Store(root), keep_runs=0, grace_hours=0, sweep=True)
        rounds += 1
        time.sleep(0.002)
    return rounds
