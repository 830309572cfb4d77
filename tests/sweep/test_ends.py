"""How a sweep without a best cell says so, and what it refuses before any cell is begun."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from flows.sweep import report
from flows.sweep.execute import CellProgress, execute_sweep
from flows.sweep.result import Grid
from flows.verbs.grid import print_cell
from tasks.artifacts.store import Store
from tasks.config import ConfigError, DataError, FinetuneError, Interrupted, TrainingError, load_sweep
from tasks.config.errors import MachineError
from tasks.runtime.sweeps import sweep_line, sweeps
from tasks.sweep.board import Outcome
from tasks.sweep.cells import cells_of
from tasks.sweep.goal import Goal

BASE: dict[str, Any] = {"model": "m", "data": {"train": "d", "split": {"validation": 0.1}}}
SWEEP: dict[str, Any] = {"grid": {"train.learning_rate": [1e-4, 1e-3]}}
DONE = Outcome("completed", {"eval_accuracy": 0.5})


def failed(kind: str, error: str = "oh") -> Outcome:
    return Outcome("failed", error=error, kind=kind)


@pytest.mark.parametrize(
    ("outcomes", "best_failure", "kind", "says"),
    [
        ([failed("DataError"), failed("DataError")], None, DataError, "all 2 cells of the sweep failed:\n- oh"),
        ([failed("DataError"), failed("ConfigError", "ah")], None, TrainingError, "- oh\n- ah"),
        ([Outcome("killed", error="killed")] * 2, None, TrainingError, "all 2 cells"),
        (
            [DONE, DONE],
            failed("MachineError", "disk full"),
            MachineError,
            "tests and saves the best one failed:\n- disk full",
        ),
        (
            [DONE, DONE],
            None,
            TrainingError,
            "no finished cell has a value for eval_pearson; available are eval_accuracy",
        ),
        ([DONE, failed("DataError")], None, TrainingError, "no finished cell has a value for eval_pearson"),
    ],
)
def test_why_there_is_no_best_cell(
    outcomes: list[Outcome], best_failure: Outcome | None, kind: type[FinetuneError], says: str
) -> None:
    base = load_sweep({**BASE, "sweep": SWEEP})
    goal = Goal("eval_pearson", True)
    grid = Grid("sweep", cells_of(base), dict(enumerate(outcomes)), goal, [], base, best_failure=best_failure)
    assert grid.state == "failed"
    with pytest.raises(kind, match=f"(?s){says}") as caught:
        grid.raise_if_failed()
    assert type(caught.value) is kind and str(caught.value).count("oh") <= 1


def test_a_metric_that_is_no_number_is_left_out_of_a_cells_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"eval_roc_auc": None, "eval_loss": 0.7, "eval_accuracy": 0.25}
    outcome = Outcome("completed", cast("dict[str, float]", found), seconds=1.0)
    print_cell(CellProgress("lr=1", outcome, 1, 2))
    assert "completed" in (said := capsys.readouterr().err) and said.endswith("lr=1  eval_accuracy 0.2500\n")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"store": {"root": "memory"}}, "cells would share nothing"),
        ({"output_dir": "a-file"}, "a-file is a file"),
        ({"sweep": {"random": {"peft.r": {"low": 2, "high": 8}}, "n_trials": 9, "sampler": "tpe"}}, "peft.r"),
    ],
)
def test_what_cannot_be_is_said_before_any_cell_is_begun(
    more: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    loaded = load_sweep({**BASE, "store": {"root": str(tmp_path / "store")}, "sweep": SWEEP, **more})
    with pytest.raises(ConfigError, match=says):
        execute_sweep(loaded.base.config, loaded.sweep, lambda _: None)


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt(), "interrupted"), (Interrupted("oh"), "interrupted"), (MachineError("disk full"), "failed")],
)
def test_a_sweep_that_is_stopped_is_remembered_with_the_cells_it_has(
    error: BaseException, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))

    class Fanout(AbstractContextManager[Any]):
        def __init__(self, *_: Any) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def run(self, orders: Any, told: Any) -> Any:
            assert [each["state"] for each in sweeps(store)] == ["running"]
            told(1, {"state": "completed", "metrics": {"eval_accuracy": 0.5}, "run": "red-ant-1", "rung": (2, 2)})
            raise error

    monkeypatch.setattr("flows.sweep.execute.Fanout", Fanout)
    loaded = load_sweep({**BASE, "name": "topics", "store": {"root": str(tmp_path)}, "sweep": SWEEP})
    with pytest.raises(type(error)):
        execute_sweep(loaded.base.config, loaded.sweep, report.note)
    [record] = sweeps(store)
    assert (record["state"], record["best"], record["ended"] is None) == (state, None, False)
    assert [cell["state"] for cell in record["cells"]] == ["interrupted", "completed"]
    assert [(row["rank"], row["value"]) for row in record["leaderboard"]] == [(1, 0.5), (None, None)]
    assert sweep_line(record)["failed"] == (state == "failed")
