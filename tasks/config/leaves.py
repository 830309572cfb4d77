"""Every single value of a config, by its dotted name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tasks.config.sections.section import Section


@dataclass(frozen=True)
class Leaf:
    """One value; `is_set` says whether it was given (null where null is the default counts as not given)."""

    path: str
    value: Any
    is_set: bool


def leaves(section: Section, prefix: str = "", given: bool = True) -> Iterator[Leaf]:
    """The values of a section and of all sections in it, in their order."""
    fields = type(section).model_fields
    for name in [*fields, *(section.model_extra or {})]:
        value = getattr(section, name)
        is_set = given and _was_given(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.", is_set)
            continue
        default = fields[name].default if name in fields else PydanticUndefined
        yield Leaf(f"{prefix}{name}", value, is_set and not (value is None and default is None))


def given(value: Any) -> Any:
    """Plain data of what was given: a section becomes the mapping of its set values, and reads back equal."""
    if isinstance(value, BaseModel):
        names = [name for name in type(value).model_fields if _was_given(value, name)]
        return {name: given(getattr(value, name)) for name in [*names, *(value.model_extra or {})]}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): given(item) for key, item in value.items()}
    return [given(item) for item in value] if isinstance(value, (list, tuple)) else value


def _was_given(section: BaseModel, name: str) -> bool:
    # The tag of a union is given by the choice of the class too: Lora(r=8).
    return name in section.model_fields_set or name == "method"


def assign(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set one dotted name in nested plain data; a ValueError says which part of the name is no mapping."""
    *parents, last = path.split(".")
    for depth, name in enumerate(parents, start=1):
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ValueError(f"{'.'.join(parents[:depth])} is a single value; nothing is inside it")
    tree[last] = value
