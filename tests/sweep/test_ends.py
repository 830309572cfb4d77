"""How a sweep without a best cell says so, and what it refuses before any cell is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from flows.sweep.execute import Grid, Told, carry_sweep
from flows.verbs.grid import tell
from tasks.config import ConfigError, DataError, FinetuneError, TrainingError, load_sweep
from tasks.config.errors import MachineError
from tasks.sweep.board import Outcome
from tasks.sweep.cells import cells_of
from tasks.sweep.goal import Goal

BASE: dict[str, Any] = {"model": "m", "data": {"train": "d", "split": {"validation": 0.1}}}
SWEEP: dict[str, Any] = {"grid": {"train.learning_rate": [1e-4, 1e-3]}}
DONE = Outcome("completed", {"eval_accuracy": 0.5})


def failed(kind: str, error: str = "oh") -> Outcome:
    return Outcome("failed", error=error, kind=kind)


@pytest.mark.parametrize(
    ("outcomes", "uncrowned", "kind", "says"),
    [
        ([failed("DataError"), failed("DataError")], None, DataError, "all 2 cells of the sweep failed:\n- oh"),
        ([failed("DataError"), failed("ConfigError", "ah")], None, TrainingError, "- oh\n- ah"),
        ([Outcome("killed", error="killed")] * 2, None, TrainingError, "all 2 cells"),
        ([DONE, DONE], failed("MachineError", "disk full"), MachineError, "the best one's run .* failed:\n- disk full"),
        ([DONE, DONE], None, TrainingError, "no finished cell has a number for eval_pearson; there are eval_accuracy"),
        ([DONE, failed("DataError")], None, TrainingError, "no finished cell has a number for eval_pearson"),
    ],
)
def test_why_there_is_no_best_cell(
    outcomes: list[Outcome], uncrowned: Outcome | None, kind: type[FinetuneError], says: str
) -> None:
    base = load_sweep({**BASE, "sweep": SWEEP})
    goal = Goal("eval_pearson", True)
    grid = Grid("sweep", cells_of(base), dict(enumerate(outcomes)), goal, [], base, uncrowned=uncrowned)
    assert grid.state == "failed"
    with pytest.raises(kind, match=f"(?s){says}") as caught:
        grid.raise_if_failed()
    assert type(caught.value) is kind and str(caught.value).count("oh") <= 1


def test_a_metric_that_is_no_number_is_left_out_of_a_cells_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"eval_roc_auc": None, "eval_loss": 0.7, "eval_accuracy": 0.25}
    outcome = Outcome("completed", cast("dict[str, float]", found), seconds=1.0)
    tell(Told("lr=1", outcome, 1, 2))
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
        carry_sweep(loaded.base.config, loaded.sweep)
