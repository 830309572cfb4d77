"""The JSON Schema of a run with everything that is installed: tasks and their columns, training methods."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.config import MethodsConfig, Text
from tasks.config.schema import json_schema as config_schema
from tasks.objectives import objectives
from tasks.training.methods import methods

TRANSLATION = "^translation_[a-z]+_to_[a-z]+$"


def task_names() -> list[str]:
    """Every task and its aliases, as a form offers them."""
    return [name for task, objective in objectives().items() for name in (task, *objective.aliases)]


class _Closed:
    """Adds to the JSON Schema of a parameter what is installed when the schema is made."""

    def __init__(self, more: Callable[[], dict[str, Any]]) -> None:
        self.more = more

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(core) | self.more()


# The types of a flow's parameters: what Prefect's run form offers, and what its server refuses.
Task = Annotated[Text, _Closed(lambda: {"enum": task_names()})]
Methods = Annotated[MethodsConfig, _Closed(lambda: {"propertyNames": {"enum": list(methods())}})]


def json_schema() -> dict[str, Any]:
    """The schema of a whole config, for editors and for the README."""
    schema = config_schema()
    task = schema["properties"]["task"]
    schema["properties"]["task"] = {name: task[name] for name in ("default", "description", "title")} | {
        "anyOf": [{"enum": task_names()}, {"type": "string", "pattern": TRANSLATION}]
    }
    known = {}
    for name, method in methods().items():
        options = method.options.model_json_schema()
        short = [options["properties"][method.options.bare]] if method.options.bare else []
        known[name] = {"anyOf": [options, *short, {"type": "boolean"}], "description": method.summary}
    field = schema["properties"]["methods"]
    described = {"description": field["description"], "default": {}}
    listed = {"type": "array", "items": {"enum": list(known)}}
    schema["properties"]["methods"] = described | {
        "anyOf": [{"type": "object", "properties": known, "additionalProperties": False}, listed, {"enum": list(known)}]
    }
    return schema
