"""Loads a run's config from a file, a mapping or a config, with overrides, and records the origin of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject, is_object
from tasks.config.leaves import assign, given, leaves
from tasks.config.reading.old_names import modernise
from tasks.config.reading.problems import Problem, problems
from tasks.config.reading.yaml_file import parse_value, read
from tasks.config.sections.run import EXPAND, RunConfig
from tasks.config.sections.secrets import without_credentials
from tasks.config.sections.sweep import SweepConfig

_COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Loaded:
    """A valid config, the origin of each given value, and notices for the user."""

    config: RunConfig
    origin: Mapping[str, str]
    notices: tuple[str, ...]
    file: str | None = None  # the config file, absolute


@dataclass(frozen=True)
class LoadedSweep:
    """A config and its sweep; `cell` returns the config of one cell."""

    base: Loaded
    sweep: SweepConfig

    def cell(self, settings: Mapping[str, Any], place: str = "sweep") -> Loaded:
        """Return the base config with other values: `{dotted field: value}`.

        Raises:
            ConfigError: the values are invalid.
        """
        # Sections first: `peft: lora` would remove a `peft.r` that was set before it.
        ordered = dict(sorted(settings.items(), key=lambda setting: setting[0].count(".")))
        found = load(self.base.config, settings=deepcopy(ordered), place=place)
        ours = {path: where for path, where in found.origin.items() if where == place}
        return Loaded(found.config, {**self.base.origin, **ours}, ())


def load(
    source: str | Path | Mapping[str, Any] | RunConfig,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    place: str = "sweep",
) -> Loaded:
    """Load and validate a run's config. All problems are raised together, as one ConfigError.

    `source` is the path of a YAML file, a mapping or a RunConfig; an override is `dotted.name=value` with a YAML value;
    `settings` are overrides as values, with `place` as their origin. A `sweep` section is ignored; see `load_sweep`.
    """
    draft = _make_draft(source, overrides)
    for path, value in (settings or {}).items():
        _set(draft, path, value, place)
    if draft.values.pop("sweep", None) is not None:
        draft.notices.append("sweep: ignored here; it is for `finetune grid`")
    return _validate(draft)


def load_sweep(source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()) -> LoadedSweep:
    """Load and validate a config with its `sweep`, like `load`.

    Raises:
        ConfigError: there is no sweep, or something is invalid.
    """
    return _validate_sweep(_make_draft(source, overrides))


def load_either(
    source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()
) -> Loaded | LoadedSweep:
    """Load and validate a config, with its `sweep` if it has one."""
    draft = _make_draft(source, overrides)
    return _validate(draft) if draft.values.get("sweep") is None else _validate_sweep(draft)


def _validate_sweep(draft: _Draft) -> LoadedSweep:
    values = draft.values.pop("sweep", None)
    sweep: SweepConfig | None = None
    if values is None:
        text = "missing; a grid needs axes, such as sweep: {grid: {train.learning_rate: [1e-4, 2e-4]}}"
        draft.problems.append((draft.name, Problem("sweep", text)))
    else:
        try:
            sweep = SweepConfig.model_validate(values)
        except ValidationError as error:
            draft.problems += [(draft.place(found.path), found) for found in problems(error, SweepConfig, "sweep")]
    base = _validate(draft)
    assert sweep is not None
    return LoadedSweep(base, sweep)


def _make_draft(source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str]) -> _Draft:
    draft = _open(source)
    for override in overrides:
        _override(draft, override)
    return draft


def _validate(draft: _Draft) -> Loaded:
    try:
        config = RunConfig.model_validate(draft.values)
    except ValidationError as error:
        draft.problems += [(draft.place(problem.path), problem) for problem in problems(error)]
        raise ConfigError(draft.report()) from None
    if draft.problems:
        raise ConfigError(draft.report())
    origin = {leaf.path: draft.place(leaf.path) for leaf in leaves(config) if leaf.is_set}
    return Loaded(config, origin, tuple(draft.notices), draft.file)


@dataclass
class _Draft:
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
        ordered = sorted(self.problems, key=lambda pair: (pair[0] == _COMMAND_LINE, _line(pair[0])))
        lines = [f"- {place}: {problem.path}: {problem.text}" for place, problem in ordered]
        return without_credentials("\n".join([f"{many} in {where}:", *lines]))


def _line(place: str) -> int:
    number = place.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _open(source: str | Path | Mapping[str, Any] | RunConfig) -> _Draft:
    if isinstance(source, (str, Path)):
        document, name = read(source), Path(source).name
        places = {path: f"{name}:{line}" for path, line in document.lines.items()}
        draft = _Draft(name, dict(document.values), places, file=str(Path(source).expanduser().absolute()))
    else:
        values = given(source) if isinstance(source, RunConfig) else given(dict(source))
        draft = _Draft("call", values, {})
    for section, expand in EXPAND.items():
        if section in draft.values:
            draft.values[section] = expand(draft.values[section])
    _modernise(draft)
    return draft


def _modernise(draft: _Draft) -> None:
    train: object = draft.values.get("train")
    if not is_object(train):
        return
    modern = modernise(train)
    draft.values["train"] = modern.values
    for new, written in modern.sources.items():
        if f"train.{written}" in draft.places:
            draft.places[f"train.{new}"] = draft.places[f"train.{written}"]
    draft.tell(modern.notices, draft.name)


def _override(draft: _Draft, override: str) -> None:
    path, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not path:
        problem = Problem(f"'{override}'", "an override must have the form dotted.name=value")
        draft.problems.append((_COMMAND_LINE, problem))
        return
    try:
        value = parse_value(text)
    except ConfigError as error:
        draft.problems.append((_COMMAND_LINE, Problem(path, str(error).removeprefix(f"{_COMMAND_LINE}:1: "))))
        return
    _set(draft, path, value, _COMMAND_LINE)


def _set(draft: _Draft, path: str, value: object, place: str) -> None:
    try:
        for name, each in _settings(draft, path, value, place).items():
            draft.put(name, each, place)
    except ValueError as error:
        draft.problems.append((place, Problem(path, str(error))))


def _settings(draft: _Draft, path: str, value: object, place: str) -> JsonObject:
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
