"""A grid of twelve cells over learning rate and LoRA rank: what is built how often, and what halving saves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import grid
from flows.sweep.plan import plan_sweep
from tasks.config import load_sweep
from tests.tiny import make_config

pytestmark = pytest.mark.slow
RATES, RANKS = (1e-3, 3e-3, 1e-2), (1, 2, 4, 8)


def twelve(bert: Path, rows: Path, store: Path, **sweep: Any) -> dict[str, Any]:
    axes = {"train.learning_rate": list(RATES), "peft.r": list(RANKS)}
    more = {"grid": axes, "derive": {"peft.lora_alpha": "2 * peft.r"}, **sweep}
    return make_config(bert, rows, store, peft={"method": "lora"}, sweep=more, train__num_train_epochs=4)


def test_what_cells_share_is_built_once_and_counted(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    """Twelve trainings, an adapter for each rank, and one of everything before; halved: the same, in fewer steps."""
    config = twelve(bert, rows, tmp_path / "halved", halving=True)
    halved = grid(config)
    assert halved.state == "completed" and len(halved.cells) == 12
    assert [rung["groups"] for rung in halved.rungs] == [12, 4, 2]
    assert [rung["common"] for rung in halved.rungs] == [0, 4, 2]
    assert halved.steps["spent"] <= 0.45 * halved.steps["full"]

    again = grid(config)
    assert again.built == {}
    after = plan_sweep(load_sweep(config))
    assert after.steps and after.seconds and after.stages["s05_tokenize"] == {"built": 0, "found": 1}
    assert [row.group for row in again.rows] == [row.group for row in halved.rows]
    assert again.rungs == halved.rungs

    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(twelve(bert, rows, tmp_path / "store")))
    command = [sys.executable, "-m", "flows.cli", "grid", str(tmp_path / "sweep.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout.splitlines()[-1])
    once = dict.fromkeys(("s02_seed", "s03_base", "s04_prepare", "s05_tokenize", "s06_model"), 1)
    each = dict.fromkeys(("s08_trainer", "s09_train", "s10_evaluate"), 12)
    counted = {stage: whole["built"][stage] for stage in (*once, "s07_adapter", *each)}
    assert counted == {**once, "s07_adapter": len(RANKS), **each} | {"s08_trainer": len(RATES), "s10_evaluate": 13}
    assert whole["steps"]["spent"] == whole["steps"]["full"] == halved.steps["full"]
    assert {json.dumps(cell["overrides"], sort_keys=True) for cell in whole["cells"]} == {
        json.dumps(dict(cell.overrides), sort_keys=True) for cell in halved.cells
    }
