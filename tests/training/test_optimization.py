"""Every optimizer and schedule of transformers, by name: it works, or is refused before anything is built."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, GreedyLR, get_scheduler
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from flows.api import plan
from tasks.config import ConfigError, load
from tasks.config.arguments import catalogue
from tasks.objectives.optimization import SCHEDULES
from tasks.objectives.presets import resolve
from tasks.training import state
from tests.tiny import make_config

LOW_RANK = {"optim_target_modules": "all-linear"}
NEEDED: Mapping[str, Any] = {
    "cosine_with_min_lr": {"min_lr": 1e-5},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 3},
    "greedy": {"min_lr": 1e-6},
}


def problems(**train: Any) -> str:
    """What is said of a config with these training arguments; empty if nothing is."""
    config = make_config(Path("model"), Path("rows.csv"), Path("store"))
    config["train"] |= {"gradient_accumulation_steps": 1, **train}
    loaded = load(config)
    try:
        resolve(loaded.config, loaded.origin)
    except ConfigError as error:
        return str(error)
    return ""


def test_the_names_are_those_of_the_library() -> None:
    assert set(catalogue()["optim"].choices) == {each.value for each in OptimizerNames}
    assert set(catalogue()["lr_scheduler_type"].choices) == {each.value for each in SchedulerType} == set(SCHEDULES)


@pytest.mark.parametrize("name", [each.value for each in OptimizerNames])
def test_an_optimizer_works_or_is_refused_with_what_to_install(name: str, tmp_path: Path) -> None:
    more = LOW_RANK if name.startswith(("galore", "apollo")) else {}
    said = problems(optim=name, **more)
    model = BertForSequenceClassification(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    )
    arguments = TrainingArguments(str(tmp_path), optim=name, use_cpu=True, report_to="none", **more)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    except (ImportError, ValueError):
        assert f"train.optim: {name!r} given; it needs the package" in said and "pip install" in said
        return
    assert said == ""
    optimizer = kind(list(model.parameters())[:3], **options)
    ids = torch.arange(4)[None]
    model(ids, labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    state.save_optimizer(optimizer, tmp_path)
    state.load_optimizer(optimizer, tmp_path)


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_lion_8bit", "ademamix_8bit"])
def test_states_of_8_bits_share_a_code_book_and_resume(name: str, tmp_path: Path) -> None:
    def begun() -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.Linear(64, 128))  # smaller states have 32 bits
        arguments = TrainingArguments(str(tmp_path), optim=name, use_cpu=True, report_to="none")
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
        return model, kind(model.parameters(), **options)

    def step(model: Any, optimizer: Any) -> None:
        torch.manual_seed(1)
        model(torch.randn(8, 128)).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = begun()
    step(model, optimizer)
    state.save_optimizer(optimizer, tmp_path)
    other, resumed = begun()
    other.load_state_dict(model.state_dict())
    state.load_optimizer(resumed, tmp_path)
    for each in ((model, optimizer), (other, resumed)):
        step(*each)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", list(SchedulerType))
def test_a_schedule_s_options_are_those_of_the_library(kind: SchedulerType) -> None:
    theirs: Any = {"reduce_lr_on_plateau": torch.optim.lr_scheduler.ReduceLROnPlateau.__init__,
                   "greedy": GreedyLR.__init__}.get(kind.value, TYPE_TO_SCHEDULER_FUNCTION[kind])  # fmt: skip
    ours = {"self", "optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    assert set(inspect.signature(theirs).parameters) - ours == set(SCHEDULES[kind.value])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=2e-3)
    needed = NEEDED.get(kind.value, {})
    assert get_scheduler(kind, optimizer, 1, 10, dict(needed)) is not None
    assert problems(lr_scheduler_type=kind.value, lr_scheduler_kwargs=needed) == ""


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("cosine_with_min_lr", {}, "needs either min_lr"),
        ("cosine_with_min_lr", {"min_lr": 1e-5, "min_lr_rate": 0.1}, "needs either min_lr"),
        ("cosine_with_min_lr", {"min_lr": 0.1}, "min_lr: 0.1 is not below train.learning_rate"),
        ("cosine_with_min_lr", {"min_lr": "low"}, "min_lr: 'low' given; valid: a number"),
        ("cosine_with_min_lr", '{"min_lr_rate": 0.1}', ""),
        ("cosine_with_min_lr", "min_lr=1", "valid: a mapping"),
        ("cosine_warmup_with_min_lr", {}, "needs either min_lr"),
        ("warmup_stable_decay", {}, "num_decay_steps: missing"),
        ("warmup_stable_decay", {"num_decay_steps": 2, "decay_type": "sqrt"}, "'sqrt' given; valid: linear, cosine"),
        ("linear", {"num_cycles": 2}, "linear has no such option; it has none; leave it out"),
        ("cosine", {"num_cycle": 2}, "valid are num_cycles; did you mean 'num_cycles'?"),
        ("polynomial", {"lr_end": 1}, "lr_end: 1 is not below train.learning_rate"),
        ("greedy", {"min_lr": 0.01}, "min_lr: 0.01 is not below"),
        ("reduce_lr_on_plateau", {"mode": "max"}, "reduce_lr_on_plateau watches the loss"),
    ],
)
def test_options_that_a_schedule_lacks_or_does_not_have(kind: str, given: Any, said: str) -> None:
    found = problems(lr_scheduler_type=kind, lr_scheduler_kwargs=given)
    assert said in found and (said or not found)


def test_greedy_does_not_raise_a_low_rate_by_default() -> None:
    assert "min_lr: 0.001, the default, is not below" in problems(lr_scheduler_type="greedy", learning_rate=2e-5)


def test_a_schedule_of_evaluations_needs_them(bert: Path, rows: Path, tmp_path: Path) -> None:
    for kind in ("reduce_lr_on_plateau", "greedy"):
        said = problems(lr_scheduler_type=kind, eval_strategy="no", lr_scheduler_kwargs=NEEDED.get(kind, {}))
        assert f"train.eval_strategy: 'no' given; train.lr_scheduler_type: {kind} depends on evaluations" in said
    config = make_config(bert, rows, tmp_path / "store", train__lr_scheduler_type="reduce_lr_on_plateau")
    config["data"]["split"] = {"validation": 0, "test": 0}
    with pytest.raises(
        ConfigError, match="reduce_lr_on_plateau depends on evaluations, and there are no validation rows"
    ):
        plan(load(config))


def test_a_schedule_of_a_score_is_told_its_direction(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, train__lr_scheduler_type="reduce_lr_on_plateau", eval__best="accuracy")
    loaded = load(config)
    with pytest.raises(ConfigError, match=r"watches accuracy .* more is better; set max"):
        resolve(loaded.config, loaded.origin)
    config["train"]["lr_scheduler_kwargs"] = {"mode": "max"}
    loaded = load(config)
    resolve(loaded.config, loaded.origin)


def test_a_decay_longer_than_the_training(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__lr_scheduler_type="warmup_stable_decay",
                         train__lr_scheduler_kwargs={"num_decay_steps": 100})  # fmt: skip
    with pytest.raises(ConfigError, match=r"1 \+ 0 \+ 100 steps of warm-up, .* in a training of 16"):
        plan(load(config))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"optim": "galore_adamw"}, "train.optim_target_modules: missing"),
        ({"optim": "apollo_adamw_layerwise", "gradient_accumulation_steps": 2, **LOW_RANK}, "cannot accumulate"),
        ({"optim": "sgd", "optim_args": "momentum:0.9"}, "valid: name=value, separated by commas"),
        ({"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true"}, ""),
    ],
)
def test_options_of_optimizers(train: Mapping[str, Any], said: str) -> None:
    found = problems(**train)
    assert said in found and (said or not found)
