"""The cells of a sweep: run configs that differ from the base in the values of the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.config import ConfigError, Loaded, LoadedSweep, RunConfig
from tasks.config.leaves import leaves
from tasks.objectives.presets import resolve
from tasks.sweep.axes import Settings, derived, settings_of

SHOWN_ERRORS = 3


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        index: its position, from 0. group: the position of its settings; cells of a group differ only in the seed.
        overrides: its changes of the base, `{dotted field: value}`.
        loaded: its config, evaluated on the validation rows only and not saved.
    """

    index: int
    group: int
    overrides: Mapping[str, Any]
    loaded: Loaded

    @property
    def label(self) -> str:
        """Its overrides in a line, with the last part of each field's name."""
        return (
            ", ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in self.overrides.items()) or "base"
        )


def shown(value: object) -> str:
    """Format a value for a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def cells_of(sweep: LoadedSweep, settings: Sequence[Settings] | None = None, first: int = 0) -> list[Cell]:
    """Return the cells of `settings` (default: all of the sweep's), each with every seed of the sweep.

    Args:
        first: number of earlier groups.

    Raises:
        ConfigError: invalid settings; the message lists the first few.
    """
    cells: list[Cell] = []
    wrong: list[str] = []
    seeds = sweep.sweep.seeds
    for at, chosen in enumerate(settings if settings is not None else settings_of(sweep.sweep)):
        group = first + at
        for nth, seed in enumerate(seeds or [None]):
            try:
                overrides = _whole(sweep, chosen, seed)
                loaded = sweep.cell({**overrides, **ALONE})
                resolve(loaded.config, loaded.origin)
            except ConfigError as error:
                wrong.append(f"{chosen}: {str(error).partition(':' + chr(10))[2] or error}")
                break
            cells.append(Cell(group * max(len(seeds), 1) + nth, group, overrides, loaded))
    if wrong:
        more = f"\n- and {len(wrong) - SHOWN_ERRORS} more" if len(wrong) > SHOWN_ERRORS else ""
        listed = "\n- ".join(wrong[:SHOWN_ERRORS])
        raise ConfigError(f"sweep: {len(wrong)} of its cells are invalid:\n- {listed}{more}")
    return cells


# Only the best cell is scored on the test rows, answers samples, and is saved.
ALONE: Mapping[str, Any] = {"eval.splits": ["validation"], "eval.samples": 0, "output_dir": None}


def _whole(sweep: LoadedSweep, chosen: Settings, seed: int | None) -> Settings:
    """Return settings with derived fields and the seed."""
    whole = {**chosen, **({"seed": seed} if seed is not None else {})}
    if sweep.sweep.derive:
        config = resolve(sweep.cell(whole).config, {})[0]
        whole |= derived(sweep.sweep.derive, lambda name: field_of(config, name))
    return whole


def field_of(config: RunConfig, name: str) -> Any:
    """Return a field's value by its dotted name.

    Raises:
        ConfigError: no such field.
    """
    for leaf in leaves(config):
        if leaf.path == name:
            return leaf.value
    raise ConfigError(f"sweep.derive: there is no field {name!r}")
