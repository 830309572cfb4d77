"""Trainings of adapters that are stopped and resumed end with the same bits, with whatever state their method has."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.config.errors import Interrupted
from tasks.results.finetuned import FineTuned
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.training.test_methods import Recorded, run_of

METHODS: list[dict[str, Any]] = [
    {"method": "bottleneck", "reduction_factor": 4, "dropout": 0.1},
    {"method": "prompt_tuning", "num_virtual_tokens": 3},
    {"method": "prefix_tuning", "num_virtual_tokens": 3},
    {"method": "adalora", "init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 2},
]


def weights(done: FineTuned) -> dict[str, torch.Tensor]:
    return load_file(done._open("s09_train").path("adapter_model.safetensors"))


@pytest.mark.parametrize("peft", slow_except(METHODS[:1], METHODS), ids=lambda peft: peft["method"])
def test_stopped_and_resumed(
    peft: dict[str, Any], bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    whole = weights(executed(run_of(bert, rows, tmp_path / "whole", {}) | {"peft": peft}))
    recorded.stop_at, config = 4, run_of(bert, rows, tmp_path / "stopped", {}) | {"peft": peft}
    with pytest.raises(Interrupted):
        executed(config)
    recorded.steps = []
    resumed = weights(executed(config))
    assert recorded.steps == [*range(5, 8)]
    assert all(whole[name].equal(resumed[name]) for name in whole)
