"""Types of parsed JSON and YAML, and checks that also tell a type checker what is inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
"""A mapping as it was read. What its values are, its readers know or check."""


def is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    """`isinstance` for a mapping whose keys and values may be anything."""
    return isinstance(value, Mapping)


def is_sequence(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    """`isinstance` for a list or a tuple whose items may be anything."""
    return isinstance(value, list | tuple)


def is_object(value: object) -> TypeGuard[JsonObject]:
    """`isinstance` for a mapping of names: a config's, whose other names are refused where they are looked up."""
    return isinstance(value, dict)
