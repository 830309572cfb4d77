"""A training on a quantized base is killed and resumes to the same weights; its model measures the same elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from tasks.models.device import device
from tests.kill.warm import Warm, warm_parent
from tests.tiny import TASKS, make_task, make_task_rows

pytestmark = [pytest.mark.slow, pytest.mark.skipif(device() != "cpu", reason="GPUs have tests of their own")]
RUN, SAY = "tests.kill.scenes:run", "tests.kill.scenes:say"
SAVING = {"gradient_accumulation_steps": 1, "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps",
          "save_steps": 2, "max_steps": 8, "num_train_epochs": 3}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "4 bits": ("text-classification", {"load_in_4bit": True}, "adamw_torch"),
    "8 bits": ("language-generation", {"load_in_8bit": True}, "adamw_torch"),
    "4 bits, optimizer of 8": ("text-classification", {"load_in_4bit": True}, "adamw_8bit"),
    "paged optimizer": ("text-classification", {}, "paged_adamw_8bit"),
}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def config_of(case: str, folder: Path, root: str) -> dict[str, Any]:
    task, quant, optimizer = CASES[case]
    config = make_task(task, folder)
    config["train"] |= SAVING | {"optim": optimizer}
    if quant:  # a rank at which an 8-bit optimizer's states have 8 bits
        config |= {"quant": quant, "peft": {"method": "lora", "r": 128}}
    return config | {"store": {"root": str(folder / root)}}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed(case: str, warm: Warm, tmp_path: Path) -> None:
    whole = warm.play(RUN, config=config_of(case, tmp_path, "whole")).result
    assert "error" not in whole, whole
    ended = warm.play(RUN, config=config_of(case, tmp_path, "killed"), death=("in_step", 8))
    assert ended.code == -9, ended.log
    resumed = warm.play(RUN, config=config_of(case, tmp_path, "killed")).result
    assert resumed["steps"] == [7, 8]
    assert (resumed["weights"], resumed["metrics"]) == (whole["weights"], whole["metrics"])


@pytest.mark.parametrize("case", ["4 bits", "8 bits"])
def test_it_measures_the_same_in_another_process(case: str, warm: Warm, tmp_path: Path) -> None:
    config = config_of(case, tmp_path, "store") | {"output_dir": str(tmp_path / "model")}
    test = make_task_rows(tmp_path / "test.jsonl", TASKS[CASES[case][0]][1], seed=5)
    config["data"] |= {"test": str(test), "split": {}}
    labelled = warm.play(RUN, config=config).result
    said = warm.play(SAY, words=["evaluate", str(tmp_path / "model"), str(test), "--json"]).result
    assert said["metrics"] == {name: labelled["metrics"][f"test_{name}"] for name in said["metrics"]}
    assert not any("quantized" in line for line in said["warnings"])
