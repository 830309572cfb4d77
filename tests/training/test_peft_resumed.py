"""Trainings of adapters that are stopped and resumed end with the same bits, with whatever state their method has."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.config import ConfigError, load
from tasks.config.errors import Interrupted
from tasks.execution.execute import open_store
from tasks.models.bases.files import PROMPT_ENCODER
from tasks.results.finetuned import FineTuned
from tasks.runtime.resuming import checkpoint_files
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.training.test_methods import Recorded, run_of

METHODS: list[dict[str, Any]] = [
    {"method": "bottleneck", "reduction_factor": 4, "dropout": 0.1},
    {"method": "prompt_tuning", "num_virtual_tokens": 3},
    {"method": "prefix_tuning", "num_virtual_tokens": 3},
    {"method": "p_tuning", "num_virtual_tokens": 3, "encoder_reparameterization_type": "LSTM", "encoder_dropout": 0.1},
    {"method": "prefix_tuning", "num_virtual_tokens": 3, "prefix_projection": True},
    {"method": "adalora", "init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 2},
]


def weights(done: FineTuned) -> dict[str, torch.Tensor]:
    trained = done._open("s09_train")
    files = [name for name in trained.ref.members if name.endswith(".safetensors")]
    return {f"{file}:{name}": each for file in files for name, each in load_file(trained.path(file)).items()}


def name(peft: dict[str, Any]) -> str:
    return peft["method"] + ("_projection" if "prefix_projection" in peft else "")


@pytest.mark.parametrize("peft", slow_except([METHODS[0], METHODS[3]], METHODS), ids=name)
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
    assert whole.keys() == resumed.keys() and all(whole[name].equal(resumed[name]) for name in whole)


def test_the_best_prompt_is_kept_with_its_network(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, peft = Recorded(monkeypatch), {"method": "p_tuning", "num_virtual_tokens": 3}
    config = run_of(bert, rows, tmp_path, {}, eval_strategy="steps", eval_steps=3) | {"peft": peft}
    config |= {"data": config["data"] | {"split": {"validation": 0.3}}, "eval": {"best": "loss"}}
    evaluation = FinetuneTrainer._evaluation

    def worse_each_time(trainer: Any, *arguments: Any, **named: Any) -> Any:
        found = evaluation(trainer, *arguments, **named)
        found.metrics["eval_loss"] = float(trainer.state.global_step)
        return found

    monkeypatch.setattr(FinetuneTrainer, "_evaluation", worse_each_time)
    done = executed(config)
    found = {each: tensor for each, tensor in done.model.named_parameters() if tensor.requires_grad}
    assert any("mlp_head" in each for each in found)
    assert all(tensor.equal(recorded.weights[3][each]) for each, tensor in found.items())


def test_a_checkpoint_without_the_network_of_its_prompt_is_refused(bert: Path, rows: Path, tmp_path: Path) -> None:
    peft = {"method": "p_tuning", "num_virtual_tokens": 3}
    config = run_of(bert, rows, tmp_path / "store", {}, save_strategy="steps", save_steps=4) | {"peft": peft}
    taken = executed(config | {"name": "first"})
    assert taken.state.global_step == 8
    files = checkpoint_files("first", open_store(load(config).config.store))
    (tmp_path / "checkpoint-8").mkdir()
    for each, path in files.items():
        if each != PROMPT_ENCODER:
            shutil.copyfile(path, tmp_path / "checkpoint-8" / each)
    config["train"] |= {"resume_from_checkpoint": str(tmp_path / "checkpoint-8"), "max_steps": 10}
    with pytest.raises(ConfigError, match=r"train.resume_from_checkpoint: the checkpoint .* has no .*weight"):
        executed(config)
