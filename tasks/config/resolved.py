"""Writes the full config as YAML with each value's origin as a comment; it loads as the same config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from tasks.config.json_types import is_mapping, is_sequence
from tasks.config.leaves import leaves
from tasks.config.reading.yaml_file import CoreLoader
from tasks.config.sections.run import RunConfig

_WORD = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*(:/[A-Za-z0-9_./-]+)?")


def to_yaml(config: RunConfig, origin: Mapping[str, str], header: str = "") -> str:
    """Return every value of the config as YAML, with its origin as a comment; `header` is the comment on top."""
    return commented(((leaf.path, leaf.value, origin.get(leaf.path, "default")) for leaf in leaves(config)), header)


def commented(values: Iterable[tuple[str, object, str]], header: str = "") -> str:
    """Return values as YAML, each `(dotted name, value, comment)`, with names of one section next to each other."""
    lines = [f"# {_comment(line)}".rstrip() for line in header.splitlines()]
    open_sections: list[str] = []
    for path, value, comment in values:
        *parents, name = path.split(".")
        shared = next(
            (depth for depth, (was, now) in enumerate(zip(open_sections, parents, strict=False)) if was != now),
            min(len(open_sections), len(parents)),
        )
        lines += [f"{'  ' * depth}{parents[depth]}:" for depth in range(shared, len(parents))]
        open_sections = parents
        lines.append(f"{'  ' * len(parents)}{name}: {_flow(value)}  # {_comment(comment)}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    # File names may contain any character; a comment must stay on one line, without control characters.
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _flow(value: object) -> str:
    if is_mapping(value):
        return "{" + ", ".join(f"{_text(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if is_sequence(value):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        # 1e-05 is text in YAML 1.1; 1.0e-05 is the same number in every version.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return str(value) if isinstance(value, int) else _text(str(value))


def _text(text: str) -> str:
    """Return the text unquoted if YAML 1.1 and 1.2 both read it as this text; else in double quotes."""
    readers: tuple[Any, ...] = (yaml.SafeLoader(""), CoreLoader(""))
    tags = {reader.resolve(yaml.ScalarNode, text, (True, False)) for reader in readers}
    if _WORD.fullmatch(text) and tags == {"tag:yaml.org,2002:str"}:
        return text
    return yaml.dump(text, default_style='"', allow_unicode=True, width=10**9).rstrip("\n")


def with_effective_limits(text: str, values: Mapping[str, object]) -> str:
    """Replace numbers of the data section in a config as YAML by those that the run used, given the model's limits."""
    for name, value in values.items():
        if isinstance(value, int):
            line = rf"(?m)^(  {name}: )(?!{value} )\d+(  # .*)$"
            text = re.sub(line, rf"\g<1>{value}\g<2>; lowered to the model's limit", text, count=1)
    return text
