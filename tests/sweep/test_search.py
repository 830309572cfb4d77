"""What a search proposes depends on what it was told, and on nothing else."""

from __future__ import annotations

from math import log10
from typing import Any

import pytest

from tasks.config import SweepConfig
from tasks.sweep.search import Search

AXES = {"train.learning_rate": {"low": 1e-6, "high": 1.0, "log": True}, "train.optim": ["sgd", "adamw_torch"]}


def proposed(wanted: float, **more: Any) -> list[dict[str, Any]]:
    """All settings of a search in which a rate is the better the nearer it is to `wanted`."""
    given = {"random": AXES, "sampler": "tpe", "n_trials": 40, "batch": 4, **more}
    search, found = Search(SweepConfig.model_validate(given), greater_is_better=True), []
    while batch := search.ask():
        found += batch
        search.tell([-abs(log10(settings["train.learning_rate"] / wanted)) for settings in batch])
    return found


def test_told_the_same_it_proposes_the_same() -> None:
    assert proposed(1e-2) == proposed(1e-2)
    assert proposed(1e-2) != proposed(1e-2, seed=7)


@pytest.mark.parametrize("wanted", [1e-5, 1e-1])
def test_it_learns(wanted: float) -> None:
    far = [abs(log10(settings["train.learning_rate"] / wanted)) for settings in proposed(wanted)]
    assert sum(far[-10:]) < 0.5 * sum(far[:10])
