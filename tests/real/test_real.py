"""A short selection of the real runs; `make real` has all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.table import DATA, EXAMPLES, REAL, ROOT, overrides

pytestmark = pytest.mark.slow
SHORT = {
    "trec": (["data.max_train_samples=1500", "train.num_train_epochs=1"], 0.6),
    "wnut17": (["data.max_train_samples=200", "train.num_train_epochs=1"], 0.0),
    "multi30k": (["data.max_train_samples=200", "train.max_steps=2", "train.generation_max_length=8"], 0.0),
}


@pytest.mark.parametrize("name", SHORT)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real sets are not at {DATA}; set FINETUNE_TEST_DATA")
    more, least = SHORT[name]
    command = [sys.executable, "-m", "flows.cli", "run", str(EXAMPLES / f"{name}.yaml"), *overrides(name, tmp_path),
               *more, "--store", str(tmp_path / "store"), "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    if done.returncode == 2 and "is not installed" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["metrics"][f"test_{REAL[name].metric}"] >= least


@pytest.mark.parametrize("name", REAL)
def test_each_example_is_a_config(name: str) -> None:
    from tasks.config import load
    from tasks.objectives.presets import resolve

    resolve(load(EXAMPLES / f"{name}.yaml").config, {})
