"""`train.label_smoothing_factor`: what it does in each task, and where it is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from flows.api import plan
from tasks.config import ConfigError, load
from tasks.objectives.presets import resolve
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import make_task

SMOOTHED = ("text-classification", "token-classification", "sequence-sequence", "language-generation",
            "language-modeling")  # fmt: skip
STEADY = {
    "max_steps": 2, "eval_strategy": "no", "optim": "sgd", "learning_rate": 0.1, "warmup_steps": 0, "logging_steps": 1,
    "train_sampling_strategy": "sequential", "float32_matmul_precision": "highest", "predict_with_generate": False,
}  # fmt: skip


@pytest.mark.parametrize("adapter", slow_except([True], [False, True]))
@pytest.mark.parametrize("task", slow_except(["text-classification", "sequence-sequence"], SMOOTHED))
def test_the_loss_is_torchs_and_accumulates(
    task: str, adapter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_task(task, tmp_path, dropout=0.0)
    config["data"]["split"] = {"validation": 0, "test": 0}
    if adapter:
        config["peft"] = {"method": "lora", "lora_dropout": 0.0}
    step, expected = FinetuneTrainer.training_step, []

    def noted(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        with torch.no_grad():
            logits, labels = model(**inputs).logits, inputs["labels"]
        if task == "language-generation":
            logits, labels = logits[:, :-1], labels[:, 1:]
        flat = logits.flatten(0, -2), labels.flatten()
        expected.append((cross_entropy(*flat, label_smoothing=0.3).item(), cross_entropy(*flat).item()))
        return step(self, model, inputs, *rest, **named)

    monkeypatch.setattr(FinetuneTrainer, "training_step", noted)
    found = {}
    for size, windows in ((16, 1), (4, 4)):
        config["train"] |= {**STEADY, "per_device_train_batch_size": size, "gradient_accumulation_steps": windows}
        config["train"]["label_smoothing_factor"] = 0.3
        if task != "sequence-sequence":
            config["train"].pop("predict_with_generate")
        done = executed(config)
        found[windows] = [each["loss"] for each in done.history if "loss" in each]
    smoothed, plain = zip(*expected[:2], strict=True)
    assert found[1] == pytest.approx(smoothed, rel=2e-6) and found[1] != pytest.approx(plain, rel=2e-5)
    if task != "language-modeling":  # whose masks depend on the order of the draws
        assert found[4] == pytest.approx(found[1], rel=1e-4)


def of(task: str, **more: Any) -> dict[str, Any]:
    config = {"model": "m", "data": {"train": "rows.csv"}, "task": task, "train": {"label_smoothing_factor": 0.1}}
    return config | more


@pytest.mark.parametrize("task", ["regression", "question-answering", "token-detection"])
def test_refused_for_tasks_without_classes(task: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.label_smoothing_factor: 0\.1 given, but {task} is not trained"):
        resolve(load(of(task)).config, {})
    assert resolve(load(of(task, train={"label_smoothing_factor": 0})).config, {})


def test_refused_for_rows_with_several_labels(tmp_path: Path) -> None:
    config = make_task("multi-label", tmp_path)
    config["train"]["label_smoothing_factor"] = 0.1
    with pytest.raises(ConfigError, match=r"label_smoothing_factor: 0\.1 given; it is for rows with one label each"):
        plan(load(config))
