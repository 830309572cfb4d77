"""The JSON Schema: described everywhere, short in its form, closed to typos; and the names it leads people to."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tasks.config import RunConfig, TrainConfig
from tasks.config.reading.names import PEERS, hint, nearest
from tasks.config.reading.problems import known_names
from tasks.objectives.schema import json_schema
from tasks.training.methods import methods

MINIMAL: dict[str, Any] = {"model": {"name": "m"}, "data": {"train": "d"}}


def accepts(values: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(values)


def test_it_is_a_schema_and_every_field_is_described() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    for section in (schema, *schema["$defs"].values()):
        assert section["title"]
        for name, field in section["properties"].items():
            target = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
            assert field.get("description") or target.get("description"), name


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"train": {"learning_rate": 1e-4, "adam_beta1": 0.8, "optim": "sgd"}},
        {"train": {"evaluation_strategy": "epoch"}},
        {"peft": {"method": "lora", "r": 8}},
        {"peft": {"method": "none"}},
    ],
)
def test_it_accepts_what_a_run_may_say(more: dict[str, Any]) -> None:
    assert accepts({**MINIMAL, **more})
    RunConfig.model_validate({**MINIMAL, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"train": {"lerning_rate": 1e-4}},
        {"train": {"learning_rate_": 1e-4}},
        {"train": {"seed": 1}},
        {"train": {"optim": "sgdd"}},
        {"train": {"per_device_train_batch_size": 0}},
        {"data": {"train": "d", "split": {"validation": 1}}},
        {"peft": {"method": "none", "r": 8}},
        {"peft": {"method": "loar"}},
        {"seed": -1},
        {"tsk": "x"},
    ],
)
def test_it_refuses_typos_and_senseless_values(more: dict[str, Any]) -> None:
    assert not accepts({**MINIMAL, **more})


def test_the_rows_of_a_chain_may_be_in_its_steps() -> None:
    steps = [{"task": "sft", "data": "a"}, {"task": "dpo", "data": {"train": "b"}, "peft": "lora"}]
    assert accepts({"model": "m", "data": {"max_length": 9}, "steps": steps}) and accepts(
        {"model": "m", "steps": steps}
    )
    assert not accepts({"model": "m"}) and not accepts({"model": "m", "data": {"max_length": 9}})
    for wrong in (steps[:1], [*steps, {"tsk": "sft"}], [*steps, {"task": "sftt"}], [*steps, {"store": "s"}]):
        assert not accepts({"model": "m", "steps": wrong})


def test_the_form_of_train_shows_the_explicit_fields_only() -> None:
    schema = TrainConfig.model_json_schema()
    assert set(schema["properties"]) == set(TrainConfig.model_fields)
    assert len(schema["patternProperties"]) == 1
    assert schema["additionalProperties"] is False


def test_every_peer_name_leads_to_a_name_that_exists() -> None:
    assert set(PEERS.values()) <= {*known_names(), *(f"methods.{name}" for name in methods())}
    assert len(PEERS) >= 60
    assert not set(PEERS) & set(RunConfig.model_fields)


@pytest.mark.parametrize(
    ("unknown", "says"),
    [
        ("lora_r", "; here it is called peft.r"),
        ("train.batch-size", "; here it is called train.per_device_train_batch_size"),
        ("freeze", "; here it is called methods.freeze"),
        ("train.unfreeze", "; here it is called methods.unfreeze"),
        ("lora_alpha", "; it belongs at peft.lora_alpha"),
        ("train.max_length", "; it belongs at data.max_length"),
        ("dataloader_pin_memory", "; it belongs at train.dataloader_pin_memory"),
        ("train.adam_epsilo", "; did you mean train.adam_epsilon?"),
        ("lerning_rate", "; did you mean train.learning_rate?"),
        ("xyzzy", ""),
    ],
)
def test_hints(unknown: str, says: str) -> None:
    assert hint(unknown, known_names()) == says


def test_nearest() -> None:
    assert nearest("Cosin", ["linear", "cosine"]) == "cosine"
    assert nearest("qqq", ["linear"]) is None
