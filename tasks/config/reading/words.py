"""Describes what a field accepts, from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.config.reading.names import nearest
from tasks.config.sections.secrets import has_credentials

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def refusal(value: object, schema: Mapping[str, Any]) -> str:
    """Return a message such as `'cosin' given; valid: linear, cosine, …; did you mean cosine?`."""
    text = f"{_shown(value)} given; valid: {_accepted(schema)}"
    near = nearest(value, _choices(schema)) if isinstance(value, str) else None
    return f"{text}; did you mean {near}?" if near else text


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    text = f"'{value}'" if isinstance(value, str) else text
    if has_credentials(text):
        return "a URL with credentials"
    return text if len(text) <= 80 else f"{text[:77]}…"


def _choices(schema: Mapping[str, Any]) -> list[str]:
    own = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    nested = [choice for member in schema.get("anyOf", ()) for choice in _choices(member)]
    return [choice for choice in own if isinstance(choice, str)] + nested


def _accepted(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        # null only means that the field is optional.
        members = [member for member in schema["anyOf"] if member.get("type") != "null"]
        return " or ".join(dict.fromkeys(_accepted(member) for member in members))
    if "enum" in schema or "const" in schema:
        choices = [str(choice) for choice in schema.get("enum") or [schema["const"]]]
        more = f", … ({len(choices)} in all)" if len(choices) > 16 else ""
        return ", ".join(choices[:16]) + more
    if "$ref" in schema:
        return _TYPES["object"]
    if schema.get("type") == "array":
        plural = {"string": "texts", "integer": "whole numbers"}
        return f"a list of {plural.get(schema.get('items', {}).get('type', ''), 'values')}"
    what = _TYPES.get(schema.get("type", ""), "another value")
    bounds = [f"{words} {schema[key]:.12g}" for key, words in _BOUNDS.items() if key in schema]
    if schema.get("minLength"):
        bounds.append("not empty")
    return f"{what}, {' and '.join(bounds)}" if bounds else what
