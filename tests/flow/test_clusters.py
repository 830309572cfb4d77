"""The same cells on a local Ray and a local Dask cluster; seeds of a setting are one row with a spread."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import grid
from flows.sweep.plan import plan_sweep
from tasks.config import load_sweep
from tests.tiny import make_config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_four_cells_on_a_cluster(runner: str, prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    pytest.importorskip(f"prefect_{runner}", reason=f"pip install 'finetune-flow[{runner}]'")
    axes = {"data.train": [str(rows), str(tmp_path / "missing.csv")]}
    sweep = {"grid": axes, "seeds": [1, 2], "runner": runner, "parallel": 2}
    config = make_config(bert, rows, tmp_path / "store", sweep=sweep, train__max_steps=8)
    done = grid(config)
    states = [done.outcomes[cell.index].state for cell in done.cells]
    assert states == ["completed"] * 2 + ["failed"] * 2
    assert done.built["s04_prepare"] == 1  # the split has a seed of its own
    assert [row.seeds for row in done.rows] == [2, 2] and done.rows[0].spread is not None
    assert done.best is not None and done.best["overrides"]["seed"] in (1, 2)
    here = plan_sweep(load_sweep({**config, "sweep": {"seeds": [1, 2]}}))
    assert here.stages["s09_train"] == {"built": 0, "found": 2}  # the cluster built what this machine finds


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_cluster_builds_what_this_machine_would(
    runner: str, prefect_api: str, bert: Path, rows: Path, tmp_path: Path
) -> None:
    pytest.importorskip(f"prefect_{runner}", reason=f"pip install 'finetune-flow[{runner}]'")
    sweep = {"grid": {"train.learning_rate": [1e-3, 3e-3, 1e-2, 1e30]}, "runner": runner, "parallel": 2}
    config = make_config(bert, rows, tmp_path / "store", sweep=sweep, train__max_steps=8)
    done = grid(config)
    here = grid({**config, "sweep": {**sweep, "runner": "processes"}})
    assert here.built.get("s09_train", 0) == 0
    assert [row.value for row in here.rows] == [row.value for row in done.rows]
