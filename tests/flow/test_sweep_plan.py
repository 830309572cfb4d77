"""What a sweep will cost, said before it is begun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import main
from tasks import STAGES
from tasks.config import ConfigError, LoadedSweep
from tests.tiny import make_config

SWEEP = {"grid": {"train.learning_rate": [1e-3, 2e-3, 3e-3], "peft.r": [2, 4]}, "seeds": [1, 2], "parallel": 2}


def test_a_plan_counts_what_cells_share(
    bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(bert, rows, tmp_path / "store", sweep=SWEEP, peft={"method": "lora"})
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", str(tmp_path / "sweep.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert not (tmp_path / "store").exists()
    built = [found["stages"][stage]["built"] for stage in STAGES]
    # Learning rate (and, for test rows, the best): s01. Seed: s02, s06. Seed and rank: s07. All of it from s08 on.
    assert built == [3 + 1, 2, 1, 1, 1, 2, 4, 6, 12, 12 + 1, 12 + 1, 12 + 1]
    assert found["cells"] == found["looked_at"] == 12
    assert (found["steps"], found["full"]) == (12 * 16, 12 * 16)  # 58 rows, batches of 8, two epochs
    assert found["memory"] > 0 and found["disk"] > 0 and found["seconds"] is None

    assert main(["plan", str(tmp_path / "sweep.yaml"), "sweep.halving=2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "halving: 12 up to 25%, 6 up to 50%, 4 up to 100% of the training" in said
    assert "104 steps (192" in said and "2 at once on cpu" in said


@pytest.mark.parametrize("runner", ["processes", "ray", "dask"])
def test_the_runner_is_an_option_of_the_command(runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.sweep import api

    loaded: list[LoadedSweep] = []

    def stop(given: LoadedSweep, **_: Any) -> None:
        loaded.append(given)
        raise ConfigError("seen")

    monkeypatch.setattr(api, "run_sweep", stop)
    config = {"model": "m", "data": "d", "sweep": {"seeds": [1, 2], "runner": "dask"}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    assert main(["grid", str(tmp_path / "sweep.yaml"), "--runner", runner]) == 2
    assert [each.sweep.runner for each in loaded] == [runner]


@pytest.mark.parametrize("runner", ["rai", "", "slurm", "ray: 1"])
def test_a_runner_that_is_none_is_refused(runner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model": "m", "data": "d", "sweep": {"seeds": [1, 2]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    assert main(["grid", str(tmp_path / "sweep.yaml"), "--runner", runner]) == 2
    said = capsys.readouterr().err
    assert "sweep.runner" in said and "processes, ray, dask" in said, said
