"""The examples are valid configs: they load, and nothing in them is without effect."""

from pathlib import Path

import pytest

from tasks.config import load
from tasks.objectives.presets import resolve
from tests.shipped import runs_of

EXAMPLES = Path(__file__).parents[2] / "deployments" / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_loads(path: Path) -> None:
    for loaded in runs_of(path):
        resolved, origin = resolve(loaded.config, loaded.origin)
        assert resolved.data.test and loaded.config.name and not loaded.notices
        places = {place for place in loaded.origin.values() if not place.startswith("the model of step ")}
        assert all(place.startswith(path.name) for place in places) and origin


def test_the_example_of_generated_answers_generates_and_measures_forgetting() -> None:
    resolved, _ = resolve(load(EXAMPLES / "gsm8k_sft.yaml").config, {})
    assert resolved.train.model_dump()["predict_with_generate"] is True
    assert resolved.eval.forgetting.data == "tinyshakespeare/test.parquet"
