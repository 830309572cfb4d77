"""A short selection of the real runs; `make real` has all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.objectives.presets import resolve
from tests.real.table import DATA, EXAMPLES, HOURS, REAL, ROOT, overrides
from tests.served import HANG
from tests.shipped import runs_of

SHORT = {
    "trec": (["data.max_train_samples=1000", "train.num_train_epochs=1"], 0.4),  # majority: 0.188
    "shakespeare": (["data.max_train_samples=200", "train.max_steps=20"], 1500.0),  # at first 2,000
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trec", "shakespeare"])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real sets are not at {DATA}; set FINETUNE_TEST_DATA")
    more, bound = SHORT[name]
    command = [sys.executable, "-m", "flows.cli", "run", str(EXAMPLES / f"{name}.yaml"), *overrides(name, tmp_path),
               *more, "--store", str(tmp_path / "store"), "--json"]  # fmt: skip
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # another test has the other core
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=HANG, env=alone)
    if done.returncode == 2 and "is not installed" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])["metrics"][f"test_{REAL[name].metric}"]
    assert found < bound if REAL[name].less_is_better else found > bound, found


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_each_example_is_a_config_and_in_the_table(name: str) -> None:
    for run in runs_of(EXAMPLES / f"{name}.yaml"):
        resolve(run.config, {})
    assert name in REAL or name in HOURS
