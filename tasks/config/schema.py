"""The JSON Schema of a run: for editors, for the server that checks flow parameters, and for the README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.config.sections.run import RunConfig
from tasks.config.sections.sweep import SweepConfig

# What a section may be besides a mapping; see each section's `expand`.
SHORT: Mapping[str, list[dict[str, Any]]] = {
    "model": [{"type": "string"}],
    "data": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "peft": [{"type": "boolean"}, {"enum": ["none", "lora"]}],
    "quant": [{"type": "boolean"}],
    "store": [{"type": "string"}],
}


def json_schema() -> dict[str, Any]:
    """The schema of a whole config, each field with its description."""
    schema = RunConfig.model_json_schema()
    for name, short in SHORT.items():
        description = RunConfig.model_fields[name].description
        schema["properties"][name] = {"anyOf": [schema["properties"][name], *short], "description": description}
    sweep = SweepConfig.model_json_schema()
    schema["$defs"] |= sweep.pop("$defs")
    schema["$defs"]["SweepConfig"] = sweep
    halving = sweep["properties"]["halving"]
    sweep["properties"]["halving"] = {"anyOf": [{"$ref": halving["$ref"]}, {"type": "boolean"}, {"type": "integer"}],
                                      "description": halving["description"]}  # fmt: skip
    schema["properties"]["sweep"] = {"$ref": "#/$defs/SweepConfig", "description": "What `finetune grid` varies."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
