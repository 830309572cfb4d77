"""The JSON Schema of a run with all installed tasks, their columns, and training methods."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.config import (
    ContinualConfig,
    DataConfig,
    MethodsConfig,
    PeftConfig,
    PreferenceConfig,
    RlConfig,
    RunConfig,
    Text,
    TrainConfig,
)
from tasks.config.json_types import JsonObject
from tasks.config.schema import json_schema as config_schema
from tasks.config.sections.section import More
from tasks.objectives import objectives
from tasks.objectives.presets import default_of
from tasks.training.methods import methods

TRANSLATION = r"^translation[-_][^\W_]+[-_]to[-_][^\W_]+$"
SECTIONS = {
    "TrainConfig": "train",
    "PreferenceConfig": "preference",
    "RlConfig": "rl",
    "DataConfig": "data",
    "Split": "data.split",
    "lora": "peft",
}  # by title


def task_names() -> list[str]:
    """Return all tasks and their aliases, as a form shows them."""
    return [name for task, objective in objectives().items() for name in (task, *objective.aliases)]


def _say_defaults(section: str, properties: Mapping[str, dict[str, Any]]) -> None:
    """End the description of each field that may be omitted with what it is then."""
    for name, field in properties.items():
        description = field.get("description", "")
        if field.get("default") is None and "Omit:" not in description and (default := default_of(f"{section}.{name}")):
            field["description"] = f"{description} Omit: {default}."


class _SaysDefaults:
    """Adds to the JSON Schema of a section's fields what they are where they are omitted."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        for each in schema.get("anyOf", [schema]):
            section = handler.resolve_ref_schema(each)
            split = section["properties"].get("split")
            for body in (section, *([handler.resolve_ref_schema(split)] if split else [])):
                if body["title"] in SECTIONS:
                    _say_defaults(SECTIONS[body["title"]], body["properties"])
        return schema


# The types of a flow's parameters: Prefect's run form shows them, and its server validates against them.
Task = Annotated[Text, More(lambda: {"enum": task_names()})]
Methods = Annotated[MethodsConfig, More(lambda: {"propertyNames": {"enum": list(methods())}})]
Train = Annotated[TrainConfig, _SaysDefaults()]
Data = Annotated[DataConfig, _SaysDefaults()]
Preference = Annotated[PreferenceConfig, _SaysDefaults()]
Rl = Annotated[RlConfig, _SaysDefaults()]
Peft = Annotated[PeftConfig, _SaysDefaults()]


def step_schema() -> JsonObject:
    """Return the JSON Schema of a step of a chain. Its sections may be partial or short: what they become with the
    shared ones is validated when the chain is loaded."""
    fields: dict[str, JsonObject] = {}
    for name, field in RunConfig.model_fields.items():
        if name not in ("store", "secrets"):
            fields[name] = {"description": field.description}
    fields["name"] = {"type": "string", "description": "Name of the step and of its folder. Omit: the task."}
    fields["task"] |= {"enum": task_names()}
    fields["model"]["description"] = "How the model is loaded; a step starts from the model of an earlier one."
    return {"type": "object", "title": "Step", "properties": fields, "additionalProperties": False}


def continual_schema() -> JsonObject:
    """Return the JSON Schema of `continual`: a list of data sets and steps, or a mapping with it and options."""
    tasks = {"type": "array", "minItems": 2, "description": "The tasks, in order: data sets, or what differs of each.",
             "items": {"anyOf": [{"type": "string"}, step_schema()]}}  # fmt: skip
    options = ContinualConfig.model_json_schema()
    whole = {**options, "properties": {"tasks": tasks, **options["properties"]}, "required": ["tasks"]}
    return {"anyOf": [whole, tasks]}


Continual = Annotated[
    dict[str, Any] | list[Any],
    More(lambda: {"anyOf": continual_schema()["anyOf"], "description": "Tasks to train one after another."}),
]
Steps = Annotated[list[dict[str, Any]], Field(min_length=2), More(lambda: {"items": step_schema()})]


def json_schema() -> JsonObject:
    """Return the JSON Schema of a config, for editors and for the README."""
    schema = config_schema()
    task = schema["properties"]["task"]
    schema["properties"]["task"] = {name: task[name] for name in ("default", "description", "title")} | {
        "anyOf": [{"enum": task_names()}, {"type": "string", "pattern": TRANSLATION}]
    }
    for body in schema["$defs"].values():
        if body["title"] in SECTIONS:
            _say_defaults(SECTIONS[body["title"]], body["properties"])
    known = {}
    for name, method in methods().items():
        options = method.options.model_json_schema()
        short = [options["properties"][method.options.bare]] if method.options.bare else []
        known[name] = {"anyOf": [options, *short, {"type": "boolean"}], "description": method.summary}
    schema["properties"]["steps"] = {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/Step"},
                                     "description": "The trainings of `finetune align`, in order."}  # fmt: skip
    schema["properties"]["continual"] = continual_schema() | {
        "description": "The tasks of `finetune continual`, in order."
    }
    schema["$defs"]["Step"] = step_schema()
    # The rows of a chain may be in its steps alone, and the shared `data` only the rest.
    schema["required"].remove("data")
    needed = schema["$defs"]["DataConfig"].pop("required")
    whole = {"if": {"type": "object"}, "then": {"required": needed}}
    chained = {"anyOf": [{"required": ["steps"]}, {"required": ["continual"]}]}
    schema |= {"if": {"not": chained}, "then": {"required": ["data"], "properties": {"data": whole}}}
    field = schema["properties"]["methods"]
    described = {"description": field["description"], "default": {}}
    listed = {"type": "array", "items": {"enum": list(known)}}
    schema["properties"]["methods"] = described | {
        "anyOf": [{"type": "object", "properties": known, "additionalProperties": False}, listed, {"enum": list(known)}]
    }
    return schema
