"""What holds on a CPU, held against a GPU: the same bits again, after a kill too; quantized bases; sweeps that fork."""

from pathlib import Path
from typing import Any

import pytest

from flows import grid
from tasks.models.device import device
from tests.flow.test_grid import trained
from tests.kill.warm import Warm, warm_parent
from tests.tiny import TASKS, make_task, make_task_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(device() == "cpu", reason="there is no CUDA device here"),
]
RUN, SAY = "tests.kill.scenes:run", "tests.kill.scenes:say"
SAVING = {
    "save_strategy": "steps",
    "save_steps": 2,
    "max_steps": 8,
    "num_train_epochs": 3,
    "gradient_accumulation_steps": 1,
}
LORA = {"method": "lora", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
NF4 = {"load_in_4bit": True}


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def config_of(name: str, folder: Path, root: str, **more: Any) -> dict[str, Any]:
    config = make_task(name, folder)
    config["train"] |= SAVING
    return config | more | {"store": {"root": str(folder / root)}}


CASES = {name: (name, {}) for name in TASKS} | {
    "LoRA": ("text-classification", {"peft": LORA}),
    "NF4 encoder": ("text-classification", {"peft": LORA, "quant": NF4}),
    "NF4 decoder": ("language-generation", {"peft": LORA, "quant": NF4}),
    "8 bit decoder": ("language-generation", {"peft": LORA, "quant": {"load_in_8bit": True}}),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed(case: str, warm: Warm, tmp_path: Path) -> None:
    name, more = CASES[case]
    whole = warm.play(RUN, config=config_of(name, tmp_path, "whole", **more))
    assert whole.code == 0, whole.log
    assert "error" not in whole.result, whole.result
    again = warm.play(RUN, config=config_of(name, tmp_path, "again", **more)).result
    assert again["weights"] == whole.result["weights"], "the same run twice gives other weights"
    ended = warm.play(RUN, config=config_of(name, tmp_path, "killed", **more), death=("in_step", 7))
    assert ended.code == -9, ended.log
    resumed = warm.play(RUN, config=config_of(name, tmp_path, "killed", **more)).result
    assert resumed["steps"] == [7, 8]
    assert (resumed["weights"], resumed["metrics"]) == (whole.result["weights"], whole.result["metrics"])


@pytest.mark.parametrize("case", ["text-classification", "sequence-sequence", "token-detection", "NF4 encoder",
                                  "NF4 decoder"])  # fmt: skip
def test_a_saved_model_measures_as_it_was_judged(case: str, warm: Warm, tmp_path: Path) -> None:
    """In a new process, on the GPU."""
    name, more = CASES[case]
    config = config_of(name, tmp_path, "store", output_dir=str(tmp_path / "model"), **more)
    test = make_task_rows(tmp_path / "test.jsonl", TASKS[name][1], seed=5)
    config["data"] |= {"test": str(test), "split": {}}
    labelled = warm.play(RUN, config=config)
    assert labelled.code == 0 and "error" not in labelled.result, labelled.log
    said = warm.play(SAY, words=["evaluate", str(tmp_path / "model"), str(test), "--json"])
    assert said.code == 0, said.log
    metrics = labelled.result["metrics"]
    assert said.result["metrics"] == pytest.approx({key: metrics[f"test_{key}"] for key in said.result["metrics"]})


@pytest.mark.parametrize("case", ["text-classification", "NF4 decoder"])
def test_cells_are_forked_and_equal_runs_alone(case: str, warm: Warm, tmp_path: Path) -> None:
    name, more = CASES[case]
    config = config_of(name, tmp_path, "cells", **more)
    done = grid(config | {"sweep": {"grid": {"train.learning_rate": [1e-3, 2e-3]}}})
    assert done.state == "completed", done.outcomes
    alone = config_of(name, tmp_path, "alone", **more)
    alone["train"]["learning_rate"] = 1e-3
    weights = warm.play(RUN, config=alone).result["weights"]
    assert trained(tmp_path / "cells", str(done.outcomes[0].run)) == weights
