"""Logits of labelled tokens only: the same loss and gradients, from fewer logits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.config import ConfigError, load
from tasks.objectives import OBJECTIVES
from tasks.objectives.presets import resolve
from tasks.training.methods import METHODS
from tasks.training.methods.labelled_logits import LabelledPositions
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import make_task
from tests.training.test_losses import resumed, weights

TASKS = ("language-modeling", "language-generation", "sft", "sequence-sequence")


def config_of(task: str, tmp_path: Path, **train: Any) -> dict[str, Any]:
    config = make_task(task, tmp_path)
    config["data"]["split"] = {"validation": 0, "test": 0}
    config["train"] |= {"max_steps": 2, "logging_steps": 1, "float32_matmul_precision": "highest"} | train
    return config


@pytest.mark.parametrize("peft", slow_except(["lora"], ["none", "lora"]))
@pytest.mark.parametrize("smoothing", slow_except([0.2], [0.0, 0.2]))
@pytest.mark.parametrize("task", TASKS)
def test_the_loss_and_the_gradients_are_those_of_all_tokens(
    task: str, smoothing: float, peft: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout and accumulated batches; equal to 2e-6 of the largest gradient of a parameter."""
    config = config_of(task, tmp_path, label_smoothing_factor=smoothing, gradient_accumulation_steps=2,
                       per_device_train_batch_size=4, max_grad_norm=0.0, optim="sgd", learning_rate=1.0,
                       lr_scheduler_type="constant", warmup_steps=0, max_steps=1)  # fmt: skip
    config["peft"] = peft
    gradients: list[dict[str, torch.Tensor]] = []
    losses = []
    step = torch.optim.SGD.step

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        held = (each for group in self.param_groups for each in group["params"])
        gradients.append({str(at): each.grad.clone() for at, each in enumerate(held)})
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    for methods in ({}, "labelled_logits"):
        losses.append(executed({**config, "methods": methods}).history[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert len(gradients) == 2 and any(each.any() for each in gradients[0].values())
    for name, tensor in gradients[0].items():
        assert torch.allclose(gradients[1][name], tensor, rtol=0, atol=2e-6 * max(1.0, float(tensor.abs().max()))), name


@pytest.mark.parametrize("task", TASKS)
def test_logits_are_of_labelled_tokens_only(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, plain = [], LabelledPositions.forward

    def noted(self: Any, model: Any, inputs: Any, num_items: Any) -> Any:
        loss, outputs = plain(self, model, inputs, num_items)
        labels = inputs["labels"][:, 1:] if task == "language-generation" else inputs["labels"]
        found.append((outputs.logits.shape[1], int((labels != -100).sum()), labels.numel()))
        return loss, outputs

    monkeypatch.setattr(LabelledPositions, "forward", noted)
    executed(config_of(task, tmp_path) | {"methods": "labelled_logits"})
    assert found and all(logits == labelled <= tokens for logits, labelled, tokens in found)
    assert task != "language-modeling" or all(3 * logits < tokens for logits, _, tokens in found)


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("language-modeling", tmp_path, max_steps=7) | {"methods": "labelled_logits"}
    whole, again = weights(executed(config)), weights(resumed(config, tmp_path, monkeypatch))
    assert all(whole[name].equal(again[name]) for name in whole)


@pytest.mark.parametrize("task", [task for task in OBJECTIVES if task not in TASKS])
def test_refused_for_other_tasks(task: str) -> None:
    config = {"model": "m", "data": {"train": "rows.csv"}, "task": task, "methods": "labelled_logits"}
    with pytest.raises(ConfigError, match=f"methods.labelled_logits: is for language models .*, not for {task}; leave"):
        resolve(load(config).config, {})


def test_refused_for_models_with_another_head() -> None:
    plan = {"cross_entropy": "vocabulary", "arguments": {}}
    hook: Any = METHODS["labelled_logits"].make({}, torch.nn.Linear(2, 2), plan)
    with pytest.raises(ConfigError, match="Linear does not compute its logits with the layer of its get_output_emb"):
        hook.forward(hook.model, {"labels": torch.tensor([[1]])}, None)


def test_two_methods_cannot_both_replace_the_forward_pass() -> None:
    trainer: Any = object.__new__(FinetuneTrainer)
    trainer.hooks = [METHODS["labelled_logits"].make({}, torch.nn.Module(), {})] * 2
    with pytest.raises(ConfigError, match="several of them replace the forward pass"):
        trainer._forward(torch.nn.Module(), {})
