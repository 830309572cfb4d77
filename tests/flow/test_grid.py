"""Whole sweeps: one that fails in places, one that halves, one that searches, seeds; equal to runs alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows import finetune, grid
from flows.sweep.plan import plan_sweep
from tasks.artifacts.store import Store
from tasks.config import load_sweep
from tests.tiny import make_config

pytestmark = pytest.mark.slow
KILLER = """
import os, signal
from pathlib import Path

def once(predictions, references):
    flag = Path({flag!r})
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0
"""


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A metric that kills its process, once."""
    name = f"killer_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(KILLER.format(flag=str(tmp_path / "flag")))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    yield f"{name}:once"
    sys.modules.pop(name, None)


def weights(store: Path, done: Any, key: str | None = None) -> dict[str, str]:
    """The digests of a finished training's weights."""
    record = Store(str(store)).record("s09_train", key or done.artifacts["s09_train"].key)
    return {name: member.sha256 for name, member in record.members.items() if "safetensors" in name}  # type: ignore[union-attr]


def trained(store: Path, run: str) -> dict[str, str]:
    """The same by the name of a run."""
    noted = json.loads((store / "runs" / f"{run}.json").read_text())
    key = next(stage["key"] for stage in noted["stages"] if stage["stage"] == "s09_train")
    return weights(store, None, key)


def test_a_sweep_ends_whatever_happens(prefect_api: str, bert: Path, rows: Path, tmp_path: Path, killer: str) -> None:
    store = tmp_path / "store"
    rates = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 1e30]
    axes = {"train.learning_rate": rates, "eval.metrics": [*[None] * 3, [killer], None, None]}
    config = make_config(bert, rows, store, sweep={"paired": axes}, output_dir=str(tmp_path / "best"))
    done = grid(config)
    states = [done.outcomes[cell.index].state for cell in done.cells]
    assert states == ["completed"] * 3 + ["killed", "completed", "failed"]
    assert done.state == "partial" and "signal 9" in (done.outcomes[3].error or "")
    assert "diverged" in (done.outcomes[5].error or "")
    assert done.built["s04_prepare"] == done.built["s05_tokenize"] == done.built["s06_model"] == 1
    assert done.best is not None and "test_accuracy" in done.best["metrics"]
    assert not any("test_accuracy" in outcome.metrics for outcome in done.outcomes.values())
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert pq.read_table(tmp_path / "best" / "grid" / "leaderboard.parquet").num_rows == 6
    assert "data:image/png;base64," in (tmp_path / "best" / "grid" / "grid.html").read_text()

    again = grid(config, ["sweep.parallel=1"])
    states = [again.outcomes[cell.index].state for cell in again.cells]
    assert states == ["completed"] * 5 + ["failed"]
    assert again.built.get("s09_train", 0) == 0  # the killed one had been trained; it was judged anew
    assert again.best == {**done.best, "run": again.best["run"]}  # type: ignore[index]

    alone = finetune(make_config(bert, rows, tmp_path / "other"), ["train.learning_rate=0.002"])
    assert weights(tmp_path / "other", alone) == trained(store, str(again.outcomes[1].run))
    model, tokenizer = again
    assert not model.training and tokenizer("fruit").input_ids


def test_survivors_are_what_they_would_be_unpruned(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sweep = {"grid": {"train.learning_rate": [1e-3, 5e-3], "train.weight_decay": [0.0, 0.1]}, "halving": 3}
    config = make_config(bert, rows, store, sweep=sweep, train__num_train_epochs=3)
    planned = plan_sweep(load_sweep(config))
    done = grid(config)
    assert {stage: counts["built"] for stage, counts in planned.stages.items()} == done.built
    assert (planned.steps, planned.full) == (done.steps["spent"], done.steps["full"])
    assert [rung["groups"] for rung in done.rungs] == [4, 2]
    assert done.steps["spent"] < 0.7 * done.steps["full"]
    finished = [cell for cell in done.cells if done.outcomes[cell.index].state == "completed"]
    assert len(finished) == 2 and sum(outcome.state == "paused" for outcome in done.outcomes.values()) == 2
    for cell in finished:
        said = [f"{name}={value}" for name, value in cell.overrides.items()]
        alone = finetune(make_config(bert, rows, tmp_path / "other", train__num_train_epochs=3), said)
        assert weights(tmp_path / "other", alone) == trained(store, str(done.outcomes[cell.index].run))


def test_search_learns_and_repeats(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    axes = {"train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "train.optim": ["sgd", "adamw_torch"]}
    sweep = {"random": axes, "n_trials": 5, "sampler": "tpe", "batch": 2}
    config = make_config(bert, rows, tmp_path / "store", sweep=sweep, train__max_steps=6)
    done = grid(config)
    assert len(done.cells) == 5 and done.state == "completed"
    again = grid(config)
    assert [cell.overrides for cell in again.cells] == [cell.overrides for cell in done.cells]
    assert again.built == {}


def test_seeds_are_one_row_with_a_spread(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    sweep = {"grid": {"train.learning_rate": [1e-3, 5e-3]}, "seeds": [1, 2]}
    done = grid(make_config(bert, rows, tmp_path / "store", sweep=sweep, train__max_steps=8))
    assert len(done.rows) == 2 and all(row.seeds == 2 and row.spread is not None for row in done.rows)
    assert done.built["s04_prepare"] == 1  # the split has a seed of its own
    assert done.best is not None and done.best["overrides"]["seed"] in (1, 2)
