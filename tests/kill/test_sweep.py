"""A whole sweep is stopped with Ctrl-C, goes on, is killed, goes on: nothing is left over, nothing lost, same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import grid
from tasks.artifacts.formats.manifest import MANIFEST
from tasks.artifacts.lease import is_held
from tasks.runtime.finetuned import FineTuned
from tests.flow.scenes import carried
from tests.served import HANG, until
from tests.tiny import make_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RATES = (1e-3, 1e-2)
STEPS = 240  # some seconds of training


@dataclass(frozen=True)
class Sweeping:
    """A `finetune grid` on its way, as a terminal starts it: the first of a group of processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def family(self) -> list[psutil.Process]:
        """Its processes: the API if it has one of its own, the one that forks cells, the cells."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def start(config: Mapping[str, Any], place: Path, api: str | None) -> Sweeping:
    """Start a sweep; without `api` it has one of its own, which goes with it."""
    (place / "sweep.yaml").write_text(yaml.safe_dump(dict(config)))
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_API_URL": api} if api else {"PREFECT_HOME": str(place / "home")}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    (place / "tmp").mkdir(exist_ok=True)
    log = place / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "grid", str(place / "sweep.yaml")], cwd=place, env=environment,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    return Sweeping(process, log)


def reached(store: Path) -> dict[str, int]:
    """The step of the newest whole checkpoint of each training, by key."""
    steps: dict[str, int] = {}
    for path in store.glob(f"work/s09_train/*/keep/checkpoint-*/{MANIFEST}"):
        key, step = path.parts[-4], int(path.parts[-2].rpartition("-")[2])
        steps[key] = max(step, steps.get(key, 0))
    return steps


def beyond(store: Path, before: Mapping[str, int]) -> Callable[[], bool]:
    """Whether both trainings have come further than `before`."""
    return lambda: len(now := reached(store)) == 2 and all(step > before.get(key, 0) for key, step in now.items())


def gone(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that never go."""
    return psutil.wait_procs(family, HANG)[1]


def test_stopped_and_killed_and_nothing_is_lost(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sweep = {"grid": {"train.learning_rate": list(RATES)}, "parallel": 2}
    saving = {"train__save_strategy": "steps", "train__save_steps": 5, "train__eval_strategy": "no"}
    config = make_config(bert, rows, store, sweep=sweep, train__max_steps=STEPS, **saving)

    stopped = start(config, tmp_path, prefect_api)
    until(beyond(store, {}), stopped.said)
    family = stopped.family()
    os.killpg(stopped.process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    assert stopped.process.wait(HANG) == 130, stopped.said()
    assert not gone(family)
    assert "the same command goes on from here" in stopped.said()
    first = reached(store)
    assert all(0 < step < STEPS for step in first.values())

    killed = start(config, tmp_path, None)
    until(beyond(store, first), killed.said)
    family = killed.family()
    killed.process.kill()
    killed.process.wait()
    assert not gone(family)
    assert not list((tmp_path / "tmp").glob("finetune-cell-*"))
    second = reached(store)
    assert all(first[key] < step < STEPS for key, step in second.items())
    slots = list((tmp_path / "tmp").glob("finetune-slots-*/*.lock"))
    assert slots and not any(map(is_held, slots))

    done = grid(config)
    assert done.state == "completed" and done.built["s09_train"] == 2 and "s05_tokenize" not in done.built
    assert done.best is not None and done.best["overrides"] == {"train.learning_rate": RATES[0]}
    alone = carried(make_config(bert, rows, tmp_path / "alone", train__max_steps=STEPS, **saving),
                    f"train.learning_rate={RATES[0]}")  # fmt: skip
    assert done.best["metrics"] == alone.metrics
    assert digests(done.winner) == digests(alone)


def digests(done: FineTuned) -> dict[str, str]:
    """Of the trained weights."""
    members = done.artifacts["s09_train"].select("*.safetensors").members
    return {name: member.sha256 for name, member in members.items()}
