"""Layers of defaults fill what nobody set, and every value keeps its origin."""

from __future__ import annotations

import pytest

from tasks.config import ConfigError, DataConfig, Layer, Lora, ModelConfig, RunConfig, fill, load
from tasks.config.leaves import leaves

FIELD = Layer(
    "field preset",
    {"train.learning_rate": 3e-5, "train.num_train_epochs": 3, "peft.r": 8, "train.adam_beta1": 0.8, "eval.best": "f1"},
)
TASK = Layer("task", {"train.learning_rate": 1.0, "train.optim": "sgd", "data.max_length": 64})


def test_the_first_layer_wins_and_the_user_before_it() -> None:
    loaded = load({"model": "m", "data": "d"}, ["train.num_train_epochs=5"])
    config, origin = fill(loaded.config, loaded.origin, [FIELD, TASK])
    assert config.train.learning_rate == 3e-5
    assert config.train.num_train_epochs == 5
    assert config.train.optim == "sgd"
    assert config.data.max_length == 64
    assert config.train.model_extra == {"adam_beta1": 0.8}
    assert origin["train.learning_rate"] == origin["train.adam_beta1"] == "field preset"
    assert origin["train.num_train_epochs"] == "command line"
    assert origin["train.optim"] == "task"
    assert origin["model.name"] == "call"
    assert origin["train.fp16"] == origin["seed"] == "default"
    assert set(origin) == {leaf.path for leaf in leaves(config)}


def test_a_value_of_another_peft_method_is_passed_over() -> None:
    loaded = load({"model": "m", "data": "d"})
    assert fill(loaded.config, loaded.origin, [FIELD])[0].peft.method == "none"
    loaded = load({"model": "m", "data": "d", "peft": "lora"})
    config, origin = fill(loaded.config, loaded.origin, [FIELD])
    assert config.peft == Lora(r=8)
    assert origin["peft.r"] == "field preset"
    assert origin["peft.method"] == "call"


def test_null_counts_as_not_given_where_null_is_the_default() -> None:
    loaded = load({"model": "m", "data": "d", "train": {"learning_rate": None}})
    config, origin = fill(loaded.config, loaded.origin, [FIELD])
    assert config.train.learning_rate == 3e-5
    assert origin["train.learning_rate"] == "field preset"


def test_a_set_value_equal_to_its_default_stays() -> None:
    loaded = load({"model": "m", "data": "d", "seed": 42, "train": {"adam_beta1": 0.9}})
    config, origin = fill(loaded.config, loaded.origin, [Layer("x", {"seed": 1, "train.adam_beta1": 0.5})])
    assert config.seed == 42
    assert config.train.model_extra == {"adam_beta1": 0.9}
    assert origin["seed"] == "call"


def test_values_of_unknown_origin_are_parameters() -> None:
    config = RunConfig(model=ModelConfig(name="m"), data=DataConfig(train="d"), peft=Lora(r=4))
    _, origin = fill(config, {}, [FIELD])
    assert origin["peft.r"] == origin["model.name"] == "parameters"


def test_filling_twice_changes_nothing() -> None:
    loaded = load({"model": "m", "data": "d", "peft": True})
    once, origin = fill(loaded.config, loaded.origin, [FIELD, TASK])
    twice, _ = fill(once, origin, [FIELD, TASK])
    assert twice == once


def test_a_layer_that_does_not_fit_is_an_error_with_its_name() -> None:
    loaded = load({"model": "m", "data": "d"})
    with pytest.raises(ConfigError, match=r"bad layer: data\.max_lenght: unknown name"):
        fill(loaded.config, loaded.origin, [Layer("bad layer", {"data.max_lenght": 3})])
