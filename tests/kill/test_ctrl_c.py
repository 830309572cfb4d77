"""A signal as a terminal, or whoever stops a container, sends it: to every process of the run's group."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.served import HANG, in_training, until
from tests.tiny import make_config

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_ends_a_training_with_a_checkpoint(
    number: int, bert: Path, rows: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    saving = {"train__save_strategy": "steps", "train__save_steps": 10, "train__eval_strategy": "no"}
    config = make_config(bert, rows, store, train__max_steps=1_000_000, **saving)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    dropped = ("PREFECT_", "FINETUNE_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", str(tmp_path / "run.yaml")], cwd=tmp_path, env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    in_training(store)
    api = psutil.Process(run.pid).children()
    os.killpg(run.pid, number)
    assert run.wait(HANG) == 130
    said = (tmp_path / "log").read_text()
    assert "a checkpoint is saved; run the same command again to resume" in said
    assert "Traceback" not in said and "connection attempts failed" not in said
    until(lambda: not any(child.is_running() for child in api))
