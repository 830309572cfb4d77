"""The cells of a sweep: run configs that differ from one base in the values of the axes."""

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
        index: its place, from 0. group: the place of its settings; cells of a group differ in the seed only.
        overrides: what it says besides the base, `{dotted field: value}`.
        loaded: its config, judged on the validation rows only and saved nowhere.
    """

    index: int
    group: int
    overrides: Mapping[str, Any]
    loaded: Loaded

    @property
    def label(self) -> str:
        """Its overrides in a line; a field's last name is enough."""
        return (
            ", ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in self.overrides.items()) or "base"
        )


def shown(value: Any) -> str:
    """A value in a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def cells_of(sweep: LoadedSweep, settings: Sequence[Settings] | None = None, first: int = 0) -> list[Cell]:
    """The cells of `settings` (all of the sweep's, unless given), each with every seed of the sweep.

    Args:
        first: how many groups there were before.

    Raises:
        ConfigError: invalid settings; the first few are named.
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
        said = "\n- ".join(wrong[:SHOWN_ERRORS])
        raise ConfigError(f"sweep: {len(wrong)} of its cells are invalid:\n- {said}{more}")
    return cells


# Only the best cell is scored on the test rows and saved.
ALONE: Mapping[str, Any] = {"eval.splits": ["validation"], "output_dir": None}


def _whole(sweep: LoadedSweep, chosen: Settings, seed: int | None) -> Settings:
    """Settings with what is derived from them, and the seed."""
    whole = {**chosen, **({"seed": seed} if seed is not None else {})}
    if sweep.sweep.derive:
        config = resolve(sweep.cell(whole).config, {})[0]
        whole |= derived(sweep.sweep.derive, lambda name: field_of(config, name))
    return whole


def field_of(config: RunConfig, name: str) -> Any:
    """A field's value by its dotted name.

    Raises:
        ConfigError: there is no such field.
    """
    for leaf in leaves(config):
        if leaf.path == name:
            return leaf.value
    raise ConfigError(f"sweep.derive: there is no field {name!r}")
