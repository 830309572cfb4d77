"""`methods`: training methods that a run adds to plain fine-tuning, each with its options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from tasks.config.json_types import JsonObject, is_mapping, is_sequence


def _normalised(value: object) -> object:
    """Normalise to `{name: options}`: false removes a method; a list of names means default options."""
    if isinstance(value, str):
        return {value: JsonObject()}
    if is_sequence(value):
        return {str(name): JsonObject() for name in value}
    if is_mapping(value):
        kept = {name: options for name, options in value.items() if options is not False}
        return {name: JsonObject() if options is True else options for name, options in kept.items()}
    return JsonObject() if value is None else value


MethodsConfig = Annotated[dict[str, Any], BeforeValidator(_normalised)]
"""Options by method name. The methods and their options are defined in `tasks.training.methods` and checked by
`tasks.objectives.presets`."""
