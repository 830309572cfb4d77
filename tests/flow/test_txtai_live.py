"""Live models of classes that only the caller has: txtai's notebooks 21 (a plain torch module) and 41."""

import importlib
import linecache
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

from flows import HFTrainer
from tasks.artifacts.keys.code import function_version
from tasks.config.errors import ConfigError, Interrupted
from tasks.models.bases.live import live_of, save_module
from tests.flow.test_txtai import QUICK, ROWS
from tests.tiny import make_decoder

__all__ = ["places"]
from tests.flow.test_txtai import places


class Simple(nn.Module):
    """Notebook 21's, with an output that shares its memory with another."""

    def __init__(self, vocabulary: int, labels: int) -> None:
        super().__init__()
        self.config = BertConfig(vocab_size=vocabulary)
        self.embedding = nn.EmbeddingBag(vocabulary, 16)
        self.classifier = nn.Linear(16, labels)
        self.same = self.classifier
        self.labels = labels

    def forward(self, input_ids: Any = None, labels: Any = None) -> Any:  # no **kwargs: a batch holds more
        logits = self.classifier(self.embedding(input_ids))
        loss = None if labels is None else nn.functional.cross_entropy(logits.view(-1, self.labels), labels.view(-1))
        return SequenceClassifierOutput(loss=loss, logits=logits)  # type: ignore[arg-type]


class Pooled(BertPreTrainedModel):
    """A PreTrainedModel that AutoModel does not know."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **_: Any) -> Any:
        logits = self.head(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state.mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)  # type: ignore[arg-type]


class MineConfig(PreTrainedConfig):
    model_type = "mine"
    vocab_size = 80


class Mine(PreTrainedModel):
    """A language model with a config of its own."""

    config_class = MineConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, 16)
        self.post_init()

    def forward(self, input_ids: Any = None, labels: Any = None, **_: Any) -> Any:
        logits = self.words(input_ids) @ self.words.weight.T
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutput(loss=loss, logits=logits)  # type: ignore[arg-type]


def words(bert: Path) -> Any:
    return AutoTokenizer.from_pretrained(bert)


def simple(bert: Path, labels: int = 2) -> Any:
    torch.manual_seed(5)
    return Simple(len(words(bert)), labels), words(bert)


def test_a_plain_module_comes_back_trained(bert: Path) -> None:
    model, tokenizer = simple(bert)
    before = model.classifier.weight.detach().clone()
    trainer = HFTrainer()
    given = {**QUICK, "learning_rate": 0.5, "max_steps": 30}
    found, same = trainer((model, tokenizer), ROWS, validation=ROWS[:8], **given)
    assert found is model and same is tokenizer and not model.training
    assert not model.classifier.weight.equal(before)
    assert trainer.metrics["eval_loss"] < 0.6
    ids = tokenizer(ROWS[0]["text"], return_tensors="pt")["input_ids"]
    logits = found(input_ids=ids).logits
    found.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in found.state_dict().items()})
    assert trainer.result.model(input_ids=ids).logits.allclose(logits), "the result's model is not the caller's object"
    again, _ = trainer(simple(bert), ROWS, validation=ROWS[:8], **given)
    assert [entry.state for entry in trainer.result.stages] == ["cached"] * 12
    assert again(input_ids=ids).logits.equal(logits)


@pytest.mark.parametrize("kind", [dict, tuple])
def test_a_forward_may_return_a_dict_or_a_tuple(kind: type, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = Simple.forward

    def forward(self: Any, input_ids: Any = None, labels: Any = None) -> Any:
        found = named(self, input_ids, labels)
        return dict(found) if kind is dict else found.to_tuple()

    monkeypatch.setattr(Simple, "forward", forward)
    trainer = HFTrainer()
    trainer(simple(bert), ROWS, validation=ROWS[:8], **QUICK)
    assert trainer.metrics["eval_loss"] > 0


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training.callbacks.control import Cadence

    given = {**QUICK, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}
    whole, _ = HFTrainer()(simple(bert), ROWS, seed=7, **given)
    wanted = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    monkeypatch.setenv("FINETUNE_STORE", str(bert.parent / "another-store"))
    ends = Cadence.on_step_end

    def die(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
        if state.global_step == 5:
            raise KeyboardInterrupt
        return ends(self, args, state, control, **more)

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(Cadence, "on_step_end", die)
        HFTrainer()(simple(bert), ROWS, seed=7, **given)
    found, _ = HFTrainer()(simple(bert), ROWS, seed=7, **given)
    assert all(found.state_dict()[name].equal(tensor) for name, tensor in wanted.items())


def test_a_class_that_auto_model_does_not_know(bert: Path) -> None:
    torch.manual_seed(5)
    model = Pooled(BertConfig.from_pretrained(bert, num_labels=2))
    found, _ = HFTrainer()((model, words(bert)), ROWS, **QUICK)
    assert found is model and found.config.id2label == {0: "0", 1: "1"}
    adapted, _ = HFTrainer()((model, words(bert)), ROWS, lora={"r": 2, "target_modules": ["query"]}, **QUICK)
    assert type(adapted).__name__.startswith("PeftModel") and isinstance(adapted.base_model.model, Pooled)


def test_a_config_and_a_task_of_its_own(bert: Path) -> None:
    torch.manual_seed(5)
    model = Mine(MineConfig())
    before = model.words.weight.detach().clone()
    texts = [row["text"] for row in ROWS]
    found, _ = HFTrainer()((model, words(bert)), texts, task="language-generation", maxlength=16, **QUICK)
    assert found is model and not model.words.weight.equal(before)


@pytest.mark.parametrize(
    ("pair", "more", "says"),
    [
        (lambda bert: simple(bert, 3), {}, "forward returns 3 logits, and the data needs 2"),
        (simple, {"lora": True}, "lora: Simple is a plain torch module"),
        (simple, {"task": "token-detection"}, "or be the base of token-detection"),
        (lambda bert: (nn.Linear(2, 2), words(bert)), {}, "a torch.nn.Module with a `config`"),
        (lambda bert: (simple(bert)[0], str.split), {}, "tokenizer of transformers"),
    ],
)
def test_what_cannot_be_is_said(pair: Any, more: dict[str, Any], says: str, bert: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        HFTrainer()(pair(bert), ROWS, **more, **QUICK)


def test_elsewhere_the_weights_alone_are_no_base(bert: Path, tmp_path: Path) -> None:
    model, tokenizer = simple(bert)
    live_of(model).save(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    with pytest.raises(ConfigError, match=r"need the class .*test_txtai_live:Simple, which is not in"):
        HFTrainer()(str(tmp_path / "saved"), ROWS, **QUICK)


CELL = """
from torch import nn
SCALE = 2.0

def helper(x):
    return x * SCALE

class Cell(nn.Module):
    config = {"hidden_size": 4}

    def forward(self, x):
        return helper(x)
"""


def cell(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class as a notebook has it: of a module without a file."""
    module = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", module)
    name = f"<cell {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module.Cell


def test_the_source_of_a_class_is_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = live_of(cell(CELL, monkeypatch)())
    assert first.name == "live:a_notebook:Cell"
    assert live_of(cell(CELL.replace("\n\nclass", "\n# a comment\n\nclass"), monkeypatch)()).code == first.code
    for old, new in (("x * SCALE", "x + SCALE"), ("SCALE = 2.0", "SCALE = 3.0"), ("helper(x)\n", "-helper(x)\n")):
        assert live_of(cell(CELL.replace(old, new, 1) if old != "helper(x)\n" else CELL.replace(
            "return helper(x)\n", "return -helper(x)\n"), monkeypatch)()).code != first.code, old  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_file_of_mine.py").write_text(CELL)
    module = importlib.import_module("a_file_of_mine")
    before = function_version(module.Cell)
    (tmp_path / "a_file_of_mine.py").write_text(CELL.replace("SCALE = 2.0", "SCALE = 20.0"))
    linecache.checkcache()
    assert function_version(importlib.reload(module).Cell) != before


def test_shared_weights_are_written_once(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model, _ = simple(bert)
    save_module(model, tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == {
        "embedding.weight", "classifier.weight", "classifier.bias"
    }  # fmt: skip


class Continues(LlamaForCausalLM):
    """The library decides by a class's name whether smoothed labels are shifted, and does not know this one."""


def test_smoothed_labels_of_a_causal_model_are_shifted_whatever_its_class(tmp_path: Path) -> None:
    folder, losses = make_decoder(tmp_path / "base", dropout=0.0), []
    live = Continues.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for base in (str(folder), live):
        trainer = HFTrainer()
        trainer(base, [{"text": "bal gen cir dos fum"}] * 8, task="language-generation",
                **QUICK | {"label_smoothing_factor": 0.3, "max_steps": 1, "logging_steps": 1})  # fmt: skip
        losses.append(trainer.result.history[0]["loss"])
    assert losses[0] == losses[1]
