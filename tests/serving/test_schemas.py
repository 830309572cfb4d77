"""What the run form refuses before there is a run; what a run's first step refuses, with its reason as the message."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools.validation import ValidationError, validate

from tasks.config import RunConfig
from tasks.objectives import objective_of, objectives
from tasks.objectives.presets import default_of, resolve
from tasks.objectives.schema import json_schema, task_names
from tasks.runtime.prefect_api.serving import _forbid_unknown_parameters
from tests.shipped import needed
from tests.tiny import make_config

UNFILLED: dict[str, Any] = {"model": {"name": "m"}, "data": {"train": "d"}}
FINETUNE, GRID = "flows.pipeline.finetune", "flows.sweep.flow.grid"


def check(entrypoint: str, more: dict[str, Any]) -> None:
    """As Prefect's server does."""
    needed = UNFILLED if entrypoint == FINETUNE else UNFILLED | {"sweep": {"seeds": [1]}}
    validate(needed | more, schema_of(entrypoint), raise_on_error=True)


def schema_of(entrypoint: str) -> dict[str, Any]:
    """The schema that Prefect's form is made of."""
    return parameter_schema(import_object(entrypoint).fn).model_dump_for_openapi()


@pytest.mark.parametrize("entrypoint", [FINETUNE, GRID])
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"task": "text-clasification"}, "'text-clasification' is not one of"),
        ({"task": ""}, "task"),
        ({"name": ""}, "name"),
        ({"output_dir": ""}, "output_dir"),
        ({"preset": "txt"}, "preset"),
        ({"methods": {"layerwise_lr_deca": 0.9}}, "layerwise_lr_deca"),
        ({"eval": {"bests": "accuracy"}}, "eval"),
        ({"eval": {"best": ""}}, "best"),
    ],
)
def test_the_form_refuses(entrypoint: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        check(entrypoint, more)


@pytest.mark.parametrize(
    "sweep",
    [
        {},
        {"grid": {"train.lerning_rate": [1e-4]}},
        {"paired": {"peft.rank": [4]}},
        {"random": {"learning_rate": [1e-4]}, "n_trials": 1},
        {"grid": {"peft.r": [4]}, "derive": {"peft.alpha": "peft.r"}},
        {"grid": {"seed": [1, 2]}},
        {"grid": {"output_dir": ["a", "b"]}},
        {"grd": {"peft.r": [4]}},
    ],
)
def test_the_form_refuses_a_sweep(sweep: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="sweep"):
        check(GRID, {"sweep": sweep})


@pytest.mark.parametrize("entrypoint", [FINETUNE, GRID])
def test_the_form_says_what_an_empty_field_is(entrypoint: str) -> None:
    definitions = schema_of(entrypoint)["definitions"]
    empty = {f"{section}.{name}": field["description"] for section, body in definitions.items()
             for name, field in body["properties"].items() if field.get("default", ...) is None}  # fmt: skip
    assert empty["SplitConfig.validation"].endswith("Omit: 0.1; preset txtai: 0.")
    assert empty["Lora.lora_dropout"].endswith("Omit: 0.05.")
    assert not [name for name, said in empty.items() if "Omit:" not in said]


@pytest.mark.parametrize("task", objectives())
def test_the_default_in_words_is_the_default(task: str) -> None:
    for field in ("learning_rate", "num_train_epochs", "warmup_steps", "optim", "eval_strategy"):
        for more in ({}, {"peft": "lora"}, {"preset": "txtai"}):
            config = RunConfig.model_validate(UNFILLED | needed(task) | more | {"task": task})
            found = getattr(resolve(config, {})[0].train, field)
            said = default_of(f"train.{field}")
            assert (f"{found:g}" if isinstance(found, float) else found) in re.split(r"[ ;:()]+", said), (more, said)


@pytest.mark.parametrize("preset", ["recommended", "txtai"])
@pytest.mark.parametrize("peft", [{"method": "none"}, {"method": "lora"}])
def test_the_form_as_it_opens_is_the_config_with_nothing_in_it(preset: str, peft: dict[str, str]) -> None:
    """The form sends every default that it shows: one that stood there for a preset's would replace it unasked."""
    schema = schema_of(FINETUNE)

    def opened(body: dict[str, Any]) -> dict[str, Any]:
        sections = {name: field for name, field in body["properties"].items() if "$ref" in field}
        shown = {name: field["default"] for name, field in body["properties"].items() if "default" in field}
        return {name: opened(schema["definitions"][field["$ref"].rpartition("/")[2]])
                for name, field in sections.items()} | shown  # fmt: skip

    lora = opened(schema["definitions"]["Lora"]) if peft["method"] == "lora" else peft
    sent = opened(schema) | {"preset": preset, "peft": lora}
    sent |= {name: sent[name] | value for name, value in UNFILLED.items()}
    check(FINETUNE, sent)
    plain = RunConfig.model_validate(UNFILLED | {"preset": preset, "peft": peft})
    assert resolve(RunConfig.model_validate(sent), {})[0] == resolve(plain, {})[0]


def test_the_form_says_what_to_choose_for_a_translation_with_its_languages() -> None:
    task = schema_of(FINETUNE)["properties"]["task"]
    assert "choose translation for translation_en_to_de" in task["description"] and "translation" in task["enum"]
    assert objective_of("translation_en_to_de") == objective_of("translation")


@pytest.mark.parametrize("task", ["ner", "translation", "fill-mask", "regression"])
def test_the_form_takes_every_task_and_alias(task: str) -> None:
    assert task in task_names()
    check(FINETUNE, {"task": task, "name": None, "methods": {"layerwise_lr_decay": 0.9}})


@pytest.mark.parametrize(
    "axes",
    [
        {"train.learning_rate": [1e-4], "train.dataloader_pin_memory": [True], "train.warmup_ratio": [0.1]},
        {"peft": ["lora"], "peft.r": [4], "task": ["ner"], "methods.layerwise_lr_decay": [0.9]},
        {"data.columns.text": ["body"], "data.split.seed": [1], "eval.metrics": [None], "model": ["a", "b"]},
    ],
)
def test_the_form_takes_the_axes_that_a_config_has(axes: dict[str, Any]) -> None:
    check(GRID, {"sweep": {"grid": axes}})


def test_editors_know_the_tasks_too() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(json_schema())
    for task, valid in (
        ("ner", True),
        ("translation_en_to_de", True),
        ("translation-pt-to-zh", True),
        ("text-clasification", False),
    ):
        assert validator.is_valid(UNFILLED | {"task": task}) is valid, task
    assert not validator.is_valid(UNFILLED | {"sweep": {"grid": {"train.lerning_rate": [1]}}})


@pytest.mark.parametrize(
    ("entrypoint", "more", "says"),
    [
        (FINETUNE, {"eval": {"best": "acuracy"}}, "eval.best: text-classification has no metric 'acuracy'"),
        (FINETUNE, {"task": "nre"}, "task: 'nre' is not a task"),
        (GRID, {"sweep": {"grid": {"train.lerning_rate": [1e-3]}}}, "did you mean train.learning_rate?"),
        (GRID, {"sweep": {"grid": {"eval.best": ["acuracy"]}}}, "did you mean 'accuracy'?"),
        (GRID, {"sweep": {"seeds": [1], "metric": "acuracy"}}, "did you mean 'accuracy'?"),
        (GRID, {"sweep": {}}, "nothing varies"),
    ],
)
def test_the_first_step_refuses_with_its_reason_as_the_message_of_the_state(
    prefect_api: str, bert: Path, rows: Path, tmp_path: Path, entrypoint: str, more: dict[str, Any], says: str
) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        ended = import_object(entrypoint)(**make_config(bert, rows, tmp_path / "store") | more, return_state=True)
    assert ended.is_failed()
    assert says in (ended.message or ""), ended.message
    assert not list(tmp_path.glob("store/records/*")), "before any stage runs"


def test_only_our_own_deployments_are_closed(prefect_api: str) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client

    @flow(name="somebody-elses")
    def other() -> None: ...

    @flow(name="ours")
    def mine() -> None: ...

    async def closed() -> list[Any]:
        async with get_client() as client:
            made = [
                await client.create_deployment(
                    await client.create_flow(each), name="same", entrypoint=entrypoint,
                    parameter_openapi_schema={"type": "object", "properties": {}},
                ) for each, entrypoint in ((other, "theirs.flow"), (mine, "ours.flow"))
            ]  # fmt: skip
            await _forbid_unknown_parameters({"same": "ours.flow"})
            found = [await client.read_deployment(each) for each in made]
            for each in made:
                await client.delete_deployment(each)
            return [(each.parameter_openapi_schema or {}).get("additionalProperties") for each in found]

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        assert asyncio.run(closed()) == [None, False]
