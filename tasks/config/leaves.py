"""The values of a config by dotted name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tasks.config.json_types import JsonObject, is_mapping, is_sequence
from tasks.config.sections.section import Section


@dataclass(frozen=True)
class Leaf:
    """One value; `is_set` is whether it was given (a null that is also the default counts as not given)."""

    path: str
    value: object
    is_set: bool


def leaves(section: Section, prefix: str = "", given: bool = True) -> Iterator[Leaf]:
    """Yield the values of a section and of all sections in it, in order; a list of sections is one value."""
    fields = type(section).model_fields
    for name in [*fields, *(section.model_extra or {})]:
        value = getattr(section, name)
        is_set = given and _was_given(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.", is_set)
            continue
        default = fields[name].default if name in fields else PydanticUndefined
        yield Leaf(f"{prefix}{name}", _plain(value), is_set and not (value is None and default is None))


def given(value: object) -> Any:
    """Return what was given as plain data: a section becomes the mapping of its set values, and loads as equal."""
    if isinstance(value, BaseModel):
        names = [name for name in type(value).model_fields if _was_given(value, name)]
        return {name: given(getattr(value, name)) for name in [*names, *(value.model_extra or {})]}
    if isinstance(value, PurePath):
        return str(value)
    if is_mapping(value):
        return {str(key): given(item) for key, item in value.items()}
    return [given(item) for item in value] if is_sequence(value) else value


def _plain(value: object) -> object:
    """Return a list of sections as plain data, other values as they are."""
    return given(value) if is_sequence(value) and any(isinstance(each, Section) for each in value) else value


def _was_given(section: BaseModel, name: str) -> bool:
    # Choosing the class sets the tag of a union too: Lora(r=8).
    return name in section.model_fields_set or name == "method"


def assign(tree: JsonObject, path: str, value: object) -> None:
    """Set a dotted name in nested plain data. Raises ValueError naming the part that is not a mapping."""
    *parents, last = path.split(".")
    for depth, name in enumerate(parents, start=1):
        inside: object = tree.setdefault(name, {})
        if not isinstance(inside, dict):
            raise ValueError(f"{'.'.join(parents[:depth])} is a single value and has no fields")
        tree = cast(JsonObject, inside)
    tree[last] = value
