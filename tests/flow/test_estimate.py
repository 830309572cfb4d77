"""A plan of data too large to tokenize for a look counts from a sample."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from flows.api import plan
from tasks import s05_tokenize
from tasks.artifacts.store import Store
from tasks.config import load
from tasks.execution import sample
from tasks.execution.estimate import Estimate, estimate
from tests.tiny import make_config, make_decoder, make_rows


def costs(config: dict[str, Any]) -> Estimate:
    found = estimate(*plan(load(config)))
    assert found is not None
    return found


@pytest.mark.parametrize("task", ["text-classification", "language-generation"])
def test_from_all_rows_it_is_exact_and_from_some_near(
    task: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert if task == "text-classification" else make_decoder(tmp_path / "model")
    config = make_config(model, make_rows(tmp_path / "rows.csv", 600), tmp_path / "store", task=task)
    config["data"]["max_length"], config["train"]["gradient_accumulation_steps"] = 48, 1
    exact = costs(config)
    monkeypatch.setattr(s05_tokenize, "ALL_IN_A_PLAN", 100)
    monkeypatch.setattr("tasks.artifacts.store.Store.building", _nothing_of("s05_tokenize", Store.building))
    assert costs(config) == dataclasses.replace(exact, sampled=(len_of(config), len_of(config)))
    monkeypatch.setattr(sample, "SAMPLE", 90)
    near = costs(config)
    assert near.sampled is not None and near.sampled[0] < 100
    assert near.steps == pytest.approx(exact.steps, rel=0.15)
    assert near.tokens == pytest.approx(exact.tokens, rel=0.15)


def _nothing_of(stage: str, building: Any) -> Any:
    def refuse(self: Store, name: str, key: str) -> Any:
        assert not name.startswith(stage), "a plan tokenizes 600 rows"
        return building(self, name, key)

    return refuse


def len_of(config: dict[str, Any]) -> int:
    """Rows of the training split."""
    return plan(load(config))[1].rows("s04_prepare").num_rows
