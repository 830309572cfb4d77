"""NEFTune: noise on the embeddings, in training only."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from tasks.config import ConfigError, load
from tasks.objectives.presets import resolve
from tasks.training.noise import noisy_embeddings
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import TASKS, make_bert, make_t5, make_task
from tests.training.test_losses import resumed, weights

NOISED = [task for task in TASKS if task not in ("token-detection", "grpo", "ppo")]


@pytest.mark.parametrize("task", slow_except(["text-classification"], NOISED))
def test_it_changes_the_training_of_every_task(task: str, tmp_path: Path) -> None:
    config = make_task(task, tmp_path, dropout=0.0)
    config["train"] |= {"max_steps": 1, "eval_strategy": "no", "logging_steps": 1}
    losses = []
    for alpha in (None, 50.0):
        config["train"]["neftune_noise_alpha"] = alpha
        losses.append(executed(config).history[0]["loss"])
    assert losses[0] != losses[1]


def outputs(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8]]), **inputs).logits


@pytest.mark.parametrize(
    "adapter",
    [
        {}, {"target_modules": ["query"]}, {"target_modules": ["word_embeddings"]},
        {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]},
    ],
)  # fmt: skip
def test_noise_is_added_once_in_training_and_removed_at_the_end(adapter: dict[str, Any], tmp_path: Path) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(make_bert(tmp_path / "bert", dropout=0.0))
    if adapter:
        model = get_peft_model(model, LoraConfig(lora_dropout=0.0, **adapter))
    embeddings = model.get_input_embeddings()
    plain, modules = outputs(model.eval()), [*model.modules()]
    with noisy_embeddings(model, 4.0):
        assert sum(len(each._forward_hooks) for each in modules) == 1
        assert outputs(model).equal(plain)  # an evaluation
        assert not outputs(model.train()).equal(plain)
    assert outputs(model.train()).equal(plain) and outputs(model.eval()).equal(plain)
    assert not any(each._forward_hooks or hasattr(each, "neftune_noise_alpha") for each in modules)
    assert embeddings is model.get_input_embeddings()


def test_noise_has_the_size_of_the_paper(tmp_path: Path) -> None:
    model: Any = AutoModelForSequenceClassification.from_pretrained(make_bert(tmp_path / "bert", dropout=0.0)).train()
    ids = torch.arange(5, 55)[None]
    with noisy_embeddings(model, 5.0):
        noise = (model.get_input_embeddings()(ids) - model.get_input_embeddings().weight[ids]).abs()
    bound = 5.0 / (50 * 32) ** 0.5
    assert 0.98 * bound < noise.max() <= bound * 1.0001 and noise.mean().item() == pytest.approx(bound / 2, rel=0.05)


def test_encoder_and_decoder_have_noise(tmp_path: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(make_t5(tmp_path / "t5", dropout=0.0)).train()
    with noisy_embeddings(model, 5.0):
        ids = torch.tensor([[5, 6, 7]])
        for part in (model.encoder, model.decoder):
            assert not part.embed_tokens(ids).equal(part.embed_tokens(ids))


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_task("text-classification", tmp_path) | {"peft": "lora"}
    config["train"] |= {"max_steps": 7, "eval_strategy": "steps", "eval_steps": 3, "neftune_noise_alpha": 5.0}
    whole, again = executed(config), resumed(config, tmp_path, monkeypatch)
    ours, theirs = (weights(done, "adapter_model.safetensors") for done in (whole, again))
    assert all(ours[name].equal(theirs[name]) for name in ours) and whole.metrics == again.metrics


def test_refused() -> None:
    for task, alpha, said in (
        ("rtd", 5, "neftune_noise_alpha: token-detection trains two models"),
        ("ner", 0, "neftune_noise_alpha: 0 given; valid: a number, above 0"),
        ("ner", -5, "neftune_noise_alpha: -5 given; valid: a number, above 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            resolve(load({"model": "m", "data": {"train": "rows.csv"}, "task": task,
                          "train": {"neftune_noise_alpha": alpha}}).config, {})  # fmt: skip
    with pytest.raises(ConfigError, match="Linear has no get_input_embeddings"), noisy_embeddings(nn.Linear(1, 1), 5.0):
        pass
