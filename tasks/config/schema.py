"""The JSON Schema of a run: for editors, for the server that checks flow parameters, and for the README."""

from __future__ import annotations

from typing import Any

from tasks.config.run import RunConfig


def json_schema() -> dict[str, Any]:
    """The schema of a whole config, each field with its description."""
    schema = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
