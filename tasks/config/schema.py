"""The JSON Schema of a config: for editors, for the server that checks flow parameters, and for the README."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.config.json_types import JsonObject
from tasks.config.sections.peft import peft_methods
from tasks.config.sections.run import RunConfig
from tasks.config.sections.sweep import SweepConfig

# The short forms of sections; see each section's `expand`.
SHORT: Mapping[str, list[JsonObject]] = {
    "model": [{"type": "string"}],
    "data": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "peft": [{"type": "boolean"}],
    "quant": [{"type": "boolean"}],
    "store": [{"type": "string"}],
}


def json_schema() -> JsonObject:
    """Return the schema of a whole config, with descriptions of fields."""
    schema = RunConfig.model_json_schema()
    for name, short in {**SHORT, "peft": [*SHORT["peft"], {"enum": peft_methods()}]}.items():
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
