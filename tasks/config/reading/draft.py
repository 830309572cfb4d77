"""A config under construction: its values, where each was written, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject, is_object
from tasks.config.leaves import assign, given
from tasks.config.reading.old_names import modernise
from tasks.config.reading.problems import Problem
from tasks.config.reading.yaml_file import parse_value, read
from tasks.config.sections.run import EXPAND, RunConfig
from tasks.config.sections.secrets import without_credentials

COMMAND_LINE = "command line"


@dataclass
class Draft:
    """A config under construction. `places` maps dotted names to where they were written."""

    name: str
    values: JsonObject
    places: dict[str, str]
    file: str | None = None
    problems: list[tuple[str, Problem]] = field(default_factory=list[tuple[str, Problem]])
    notices: list[str] = field(default_factory=list[str])

    def place(self, path: str) -> str:
        """Return where a name was written, or else its nearest parent, or else a name inside it."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            near = ".".join(parts[:length])
            if near in self.places:
                return self.places[near]
        inside = (place for name, place in self.places.items() if name.startswith(f"{path}."))
        return next(inside, self.name)

    def put(self, path: str, value: object, place: str) -> None:
        """Set a dotted name; values set inside it before are removed."""
        assign(self.values, path, value)
        for inside in [name for name in self.places if name.startswith(f"{path}.")]:
            del self.places[inside]
        self.places[path] = place

    def tell(self, notices: Sequence[str], place: str) -> None:
        """Add notices for the user, prefixed with their place."""
        self.notices += [f"{place}: {notice}" for notice in notices]

    def report(self) -> str:
        """Return the whole message: the number of problems, then one line for each."""
        many = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
        where = "the config" if self.name == "call" else self.name
        # In file order, then those of the command line.
        ordered = sorted(self.problems, key=lambda pair: (pair[0] == COMMAND_LINE, _line(pair[0])))
        lines = [f"- {place}: {problem.path}: {problem.text}" for place, problem in ordered]
        return without_credentials("\n".join([f"{many} in {where}:", *lines]))


def make_draft(source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str]) -> Draft:
    """Return the draft of a file, a mapping or a config, with overrides (`dotted.name=value`)."""
    draft = _open(source)
    for override in overrides:
        override_value(draft, override)
    return draft


def _open(source: str | Path | Mapping[str, Any] | RunConfig) -> Draft:
    if isinstance(source, (str, Path)):
        document, name = read(source), Path(source).name
        places = {path: f"{name}:{line}" for path, line in document.lines.items()}
        draft = Draft(name, dict(document.values), places, file=str(Path(source).expanduser().absolute()))
    else:
        values = given(source) if isinstance(source, RunConfig) else given(dict(source))
        draft = Draft("call", values, {})
    expand_sections(draft)
    return draft


def expand_sections(draft: Draft) -> None:
    """Replace short forms of sections by mappings, and old names of training arguments by their new ones."""
    for section, expand in EXPAND.items():
        if section in draft.values:
            draft.values[section] = expand(draft.values[section])
    _modernise(draft)


def _modernise(draft: Draft) -> None:
    train: object = draft.values.get("train")
    if not is_object(train):
        return
    modern = modernise(train)
    draft.values["train"] = modern.values
    for new, written in modern.sources.items():
        if f"train.{written}" in draft.places:
            draft.places[f"train.{new}"] = draft.places[f"train.{written}"]
    draft.tell(modern.notices, draft.name)


def override_value(draft: Draft, override: str) -> None:
    """Set what `dotted.name=value` says."""
    path, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not path:
        problem = Problem(f"'{override}'", "an override must have the form dotted.name=value")
        draft.problems.append((COMMAND_LINE, problem))
        return
    try:
        value = parse_value(text)
    except ConfigError as error:
        draft.problems.append((COMMAND_LINE, Problem(path, str(error).removeprefix(f"{COMMAND_LINE}:1: "))))
        return
    set_value(draft, path, value, COMMAND_LINE)


def set_value(draft: Draft, path: str, value: object, place: str) -> None:
    """Set a dotted name to a value; a name that cannot be set is one of the problems."""
    try:
        for name, each in _settings(draft, path, value, place).items():
            draft.put(name, each, place)
    except ValueError as error:
        draft.problems.append((place, Problem(path, str(error))))


def _settings(draft: Draft, path: str, value: object, place: str) -> JsonObject:
    """Return an override as names and values, with short forms expanded and old names translated."""
    section, _, name = path.partition(".")
    if not name and section in EXPAND:
        value = EXPAND[section](value)
    train = {name: value} if name else value
    if section != "train" or "." in name or not is_object(train):
        return {path: value}
    modern = modernise(train)
    draft.tell(modern.notices, place)
    return {f"train.{new}": item for new, item in modern.values.items()} if name else {"train": modern.values}


def _line(place: str) -> int:
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else 0
