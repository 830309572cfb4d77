"""A chain of a deployment, cancelled in its second step and run again."""

import json
from pathlib import Path

import pytest

from tests.served import in_training, serving
from tests.serving.test_served_runs import cancel
from tests.tiny import make_chain

pytestmark = pytest.mark.slow
STEPS = 500  # some seconds of training


def test_a_cancelled_chain_resumes_in_its_second_step(tmp_path: Path) -> None:
    config = make_chain(tmp_path, name="helper")
    saving = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 10, "gradient_accumulation_steps": 1}
    config["steps"][0]["train"], config["steps"][1]["train"] = {"save_strategy": "no"}, saving
    with serving(tmp_path / "served") as served:
        first = served.create(config, "align")
        in_training(tmp_path / "store")
        cancel(served, first)
        assert served.end(first) == "Cancelled", served.log()
        assert "Crashed" not in served.states(first)
        inner = [run for run in served.runs() if run["name"].startswith("helper-")]
        assert {run["name"]: run["state_name"] for run in inner} == {
            "helper-sft": "Completed",
            "helper-dpo": "Cancelled",
        }
        second = served.create(config, "align")
        assert served.end(second) == "Completed", served.log()
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("helper-dpo-*.json")]
    [resumed] = [record["stages"] for record in records if record["state"] == "completed"]
    assert any(entry["reason"].startswith("resumes from step") for entry in resumed), resumed
