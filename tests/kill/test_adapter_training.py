"""Trainings of adapters with a state of their own (AdaLoRA's importances, prompts) are killed and end with the same
weights. See `tests/training/test_peft_resumed.py` for trainings that are stopped by a signal."""

from pathlib import Path
from typing import Any

import pytest

from tests.kill.warm import Warm, warm_parent
from tests.tiny import make_task

pytestmark = pytest.mark.slow
RUN = "tests.kill.scenes:run"
SAVING = {"gradient_accumulation_steps": 1, "save_strategy": "steps", "save_steps": 2, "max_steps": 8,
          "num_train_epochs": 3}  # fmt: skip
# Ranks are lowered until the sixth step, and stay as they are after it.
ADALORA = {"method": "adalora", "init_r": 4, "target_r": 1, "tinit": 1, "tfinal": 2}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "adalora, while ranks are lowered": ("text-classification", ADALORA, 5),
    "adalora, after it": ("text-classification", ADALORA, 8),
    "prefix_tuning": ("language-generation", {"method": "prefix_tuning", "num_virtual_tokens": 3}, 5),
    "p_tuning": (
        "text-classification",
        {
            "method": "p_tuning",
            "num_virtual_tokens": 3,
            "encoder_reparameterization_type": "LSTM",
            "encoder_dropout": 0.1,
        },
        5,
    ),
    "prompt_tuning": ("text-classification", {"method": "prompt_tuning", "num_virtual_tokens": 3}, 5),
}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed(case: str, warm: Warm, tmp_path: Path) -> None:
    task, peft, step = CASES[case]
    config = make_task(task, tmp_path) | {"peft": peft}
    config["train"] |= SAVING
    whole = warm.play(RUN, config=config | {"store": {"root": str(tmp_path / "whole")}}).result
    assert "error" not in whole, whole
    config["store"] = {"root": str(tmp_path / "killed")}
    ended = warm.play(RUN, config=config, death=("in_step", step))
    assert ended.code == -9, ended.log
    resumed = warm.play(RUN, config=config).result
    saved = (step - 1) // 2 * 2
    assert resumed["steps"] == [*range(saved + 1, 9)]
    assert (resumed["weights"], resumed["metrics"]) == (whole["weights"], whole["metrics"])
