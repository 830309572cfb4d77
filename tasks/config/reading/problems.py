"""Turns pydantic's errors into messages about the config's fields."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from tasks.config.arguments import catalogue
from tasks.config.json_types import is_mapping, is_sequence
from tasks.config.reading.names import hint, whole_hint
from tasks.config.reading.old_names import DROPPED, RENAMED
from tasks.config.reading.words import refusal
from tasks.config.sections.peft import peft_methods
from tasks.config.sections.run import RunConfig
from tasks.config.sections.section import Section
from tasks.config.sections.train import RESERVED
from tasks.config.tuners import having, some


@dataclass(frozen=True)
class Problem:
    """One error: the dotted name of the field, and a message."""

    path: str
    text: str


def problems(error: ValidationError, root: type[Section] = RunConfig, prefix: str = "") -> list[Problem]:
    """Return all problems of a failed validation of `root`, one per field; `prefix` is prepended to names."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(detail, root)
        problem = Problem(".".join(filter(None, (prefix, problem.path))), problem.text)
        found.setdefault(problem.path, problem)
    return list(found.values())


@functools.cache
def known_names() -> frozenset[str]:
    """Return every dotted name that a config may have, including those of TrainingArguments."""
    theirs = {f"train.{name}" for name in catalogue() if name not in RESERVED}
    return frozenset({*_walk(RunConfig, ""), *theirs})


def _problem(detail: Mapping[str, Any], root: type[Section]) -> Problem:
    section, path, rest = _locate(detail["loc"], root)
    kind, value = detail["type"], detail["input"]
    if kind == "value_error":
        return Problem(path, str(detail["ctx"]["error"]))
    if kind == "extra_forbidden":
        elsewhere = f"unknown name{hint(path, frozenset(_walk(root, '')))}"
        return Problem(path, f"{_unknown(path)}{whole_hint(path, value)}" if root is RunConfig else elsewhere)
    if kind.startswith("union_tag"):
        given = value.get("method") if is_mapping(value) else None
        what = "missing" if given is None else f"{given!r} given"
        return Problem(f"{path}.method", f"{what}; valid: {', '.join(peft_methods())}")
    name = path.rpartition(".")[2]
    if section is None or name not in section.model_fields:
        return Problem(path, f"must be a mapping (name: value), not {refusal(value, {'type': 'object'})}")
    if kind == "missing":
        return Problem(path, f"missing; {section.model_fields[name].description}")
    schema = section.model_json_schema()["properties"][name]
    where = f"item {rest[0] + 1}: " if rest and isinstance(rest[0], int) else ""
    entries = is_sequence(value) and any(is_mapping(each) for each in value)
    more = whole_hint("datasets", value) if path == "data.train" and entries else ""
    return Problem(path, where + refusal(value, schema) + more)


def _unknown(path: str) -> str:
    section, _, name = path.rpartition(".")
    if section == "peft" and (owners := having(name)):
        return f"valid only with peft.method: {some(owners)}"
    if name in RENAMED:
        return f"unknown name; here it is called train.{RENAMED[name]}"
    if name in RESERVED or name in DROPPED:
        return f"not allowed: {RESERVED.get(name) or DROPPED[name]}"
    return f"unknown name{hint(path, known_names())}"


def _locate(loc: Sequence[int | str], root: type[Section]) -> tuple[type[Section] | None, str, list[int | str]]:
    """Return the section with the field, the field's dotted name, and the rest of the location, inside the field.

    Parts that pydantic adds, such as the chosen member of a union, are skipped.
    """
    holder: type[Section] | None = None
    members: list[type[Section]] = [root]
    names: list[str] = []
    rest = list(loc)
    while rest and members:
        if isinstance(rest[0], int) and names:  # an item of a list of sections
            names[-1] += f"[{rest.pop(0)}]"
            continue
        part = str(rest.pop(0))
        tagged = [member for member in members if len(members) > 1 and getattr(member, "tag", None) == part]
        if tagged:
            members = tagged
            continue
        names.append(part)
        holder = members[0]
        members = _sections(holder.model_fields[part].annotation) if part in holder.model_fields else []
    return holder, ".".join(names), rest


def _sections(annotation: object) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for member in get_args(annotation) for section in _sections(member)]


def _walk(section: type[Section], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _sections(field.annotation):
            yield from _walk(inner, f"{prefix}{name}.")
