"""What a training warns of, and what it stops at."""

import json
from pathlib import Path

import pytest

from tasks.config import RunConfig
from tasks.config.errors import TrainingError
from tasks.execution.execute import execute
from tasks.training.callbacks.diagnostics import Diagnostics
from tests.tiny import make_config


def read(signs: Diagnostics, *logs: dict[str, float]) -> list[str]:
    return [sign for each in logs for sign in signs.read(each)]


def test_overfitting_is_said_when_validation_rises_twice_while_train_falls() -> None:
    logs = [{"loss": 1.0}, {"eval_loss": 0.9}, {"loss": 0.5}, {"eval_loss": 1.0}, {"loss": 0.2}]
    signs = Diagnostics()
    assert read(signs, *logs) == []
    (said,) = signs.read({"eval_loss": 1.1})
    assert "overfitting" in said and "0.9, 1, 1.1" in said


def test_no_overfitting_where_train_rises_too_or_validation_rose_once() -> None:
    rising = [{"loss": 0.5}, {"eval_loss": 0.9}, {"loss": 0.9}, {"eval_loss": 1.0}, {"loss": 1.2}, {"eval_loss": 1.1}]
    once = [{"loss": 1.0}, {"eval_loss": 0.9}, {"loss": 0.5}, {"eval_loss": 1.0}, {"loss": 0.2}, {"eval_loss": 0.8}]
    assert read(Diagnostics(), *rising) == read(Diagnostics(), *once) == []


def test_what_the_library_times_is_no_metric() -> None:
    clocks = {"eval_loss": 1.0, "eval_runtime": 0.9, "eval_samples_per_second": 0.9, "eval_steps_per_second": 0.8}
    assert read(Diagnostics(), clocks, {**dict.fromkeys(clocks, 0.1), "eval_loss": 1.0}) == []


def test_a_drop_counts_in_the_metrics_own_direction() -> None:
    first = {"eval_loss": 1.0, "eval_accuracy": 0.80, "eval_mse": 0.9}
    signs = Diagnostics(["loss", "mse"])
    assert read(signs, first, {"eval_loss": 0.9, "eval_accuracy": 0.7501, "eval_mse": 0.1}) == []
    (said,) = signs.read({"eval_loss": 0.9, "eval_accuracy": 0.70, "eval_mse": 0.9})
    assert said.startswith("accuracy dropped from 0.7501 to 0.7000")


def test_a_loss_that_does_not_fall_is_said_once() -> None:
    flat, falling = [{"loss": 1.0}] * 60, [{"loss": 1.0 / (at + 1)} for at in range(60)]
    (said,) = read(Diagnostics(), *flat)
    assert "does not fall" in said
    assert read(Diagnostics(), *flat[:19]) == read(Diagnostics(), *falling) == []


def test_a_loss_that_is_no_number_stops_and_names_the_rows(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__learning_rate=1e30, train__max_grad_norm=0.0)
    with pytest.raises(TrainingError, match=r"diverged: the loss is nan at step \d+, for the rows rows\.csv:\d+") as no:
        _train(config)
    saved = Path(str(no.value).partition("all in ")[2].partition(")")[0])
    found = json.loads(saved.read_text())
    lines = len(rows.read_text().splitlines())
    assert found["rows"] and all(1 < int(row.partition(":")[2]) <= lines for row in found["rows"])


def _train(config: dict) -> None:
    from flows.pipeline import pipeline

    execute(RunConfig.model_validate(config), pipeline)
