"""Loads a run's config from a file, a mapping or a config, with overrides, and records the origin of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.leaves import leaves
from tasks.config.reading.draft import Draft, make_draft, set_value
from tasks.config.reading.problems import Problem, problems
from tasks.config.sections.run import RunConfig
from tasks.config.sections.sweep import SweepConfig


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
    draft = make_draft(source, overrides)
    for path, value in (settings or {}).items():
        set_value(draft, path, value, place)
    if draft.values.pop("sweep", None) is not None:
        draft.notices.append("sweep: ignored here; it is for `finetune grid`")
    return validate(draft)


def load_sweep(source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()) -> LoadedSweep:
    """Load and validate a config with its `sweep`, like `load`.

    Raises:
        ConfigError: there is no sweep, or something is invalid.
    """
    return validate_sweep(make_draft(source, overrides))


def validate_sweep(draft: Draft) -> LoadedSweep:
    """Validate a draft with a sweep.

    Raises:
        ConfigError: there is no sweep, or something is invalid.
    """
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
    base = validate(draft)
    assert sweep is not None
    return LoadedSweep(base, sweep)


def validate(draft: Draft) -> Loaded:
    """Validate a draft.

    Raises:
        ConfigError: listing every problem.
    """
    for field, verb in (("steps", "align"), ("continual", "continual")):
        if draft.values.pop(field, None) is not None:
            text = f"these are for `finetune {verb}`, which runs and (with --plan) checks them"
            raise ConfigError(f"{draft.place(field)}: {field}: {text}")
    try:
        config = RunConfig.model_validate(draft.values)
    except ValidationError as error:
        draft.problems += [(draft.place(problem.path), problem) for problem in problems(error)]
        raise ConfigError(draft.report()) from None
    if draft.problems:
        raise ConfigError(draft.report())
    origin = {leaf.path: draft.place(leaf.path) for leaf in leaves(config) if leaf.is_set}
    return Loaded(config, origin, tuple(draft.notices), draft.file)
