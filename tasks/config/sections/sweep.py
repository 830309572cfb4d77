"""`sweep`: many runs of one config with different values, executed by `finetune grid`."""

from __future__ import annotations

import re
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tasks.config.json_types import JsonObject, is_mapping, is_sequence
from tasks.config.sections.section import NO_BOOL, Count, Section, Seed

MOST_CELLS = 10_000  # more are probably a mistake, since axes multiply
Values = Annotated[list[Any], Field(min_length=1)]


class Halving(Section):
    """Successive halving (Jamieson & Talwalkar 2016): weak cells stop early, the rest continue."""

    factor: Annotated[int, Field(ge=2), NO_BOOL] | None = Field(
        default=None, description="At each rung the best 1/factor of the cells continue. Omit: all are trained fully."
    )
    first: Annotated[float, Field(gt=0, lt=1), NO_BOOL] | None = Field(
        default=None,
        description="Share of the training after which the first rung is ranked; each rung is factor times as far. "
        "Omit: 1/factor to the power of the number of rungs that reduce the cells to one or two, at most three.",
    )

    @model_validator(mode="after")
    def _first_of_some(self) -> Halving:
        if self.first is not None and self.factor is None:
            raise ValueError("first needs factor: without it there are no rungs")
        return self

    @classmethod
    def expand(cls, value: object) -> object:
        """Expand `halving: 3` and `halving: true`."""
        if isinstance(value, bool):
            return {"factor": 3} if value else {}
        return {"factor": value} if isinstance(value, int) else super().expand(value)


class Range(Section):
    """Numbers to draw from."""

    low: float = Field(description="Lowest value.")
    high: float = Field(description="Highest value.")
    log: bool = Field(default=False, description="Draw uniformly on a logarithmic scale.")
    step: Annotated[float, Field(gt=0), NO_BOOL] | None = Field(
        default=None, description="Draw low, low + step, …; with whole numbers all are whole. Omit: any number between."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, not {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self

    @property
    def whole(self) -> bool:
        """Whether drawn values are whole numbers."""
        return self.step is not None and all(float(each).is_integer() for each in (self.low, self.high, self.step))


class SweepConfig(Section):
    """The axes, how they are searched, and where cells run. Names of axes are dotted fields of the config."""

    grid: dict[str, Values] = Field(
        default_factory=dict, description="Axes of which every combination is run: train.learning_rate: [1e-4, 2e-4]."
    )
    paired: dict[str, Values] = Field(
        default_factory=dict,
        description="Axes that vary together: the first values of all, the second values of all, …",
    )
    random: dict[str, Range | Values] = Field(
        default_factory=dict, description="Axes to draw from, n_trials times: {low, high, log, step}, or a list."
    )
    n_trials: Count | None = Field(
        default=None, description="How many times `random` is drawn, where there is one. Omit: never."
    )
    sampler: Literal["random", "tpe"] = Field(
        default="random",
        description="How `random` is drawn: random, or tpe (Optuna: later draws learn from earlier results).",
    )
    batch: Count = Field(
        default=4,
        description="tpe: cells drawn at a time, independent of parallel, so that a rerun draws the same.",
    )
    seed: Seed = Field(default=0, description="Seed of the draws.")
    derive: dict[str, str] = Field(
        default_factory=dict, description="Fields computed from others: peft.lora_alpha: 2 * peft.r."
    )
    seeds: list[Seed] = Field(
        default_factory=list[int],
        description="Every cell is run with each of these seeds and ranked by the mean; the spread is reported.",
    )
    metric: str | None = Field(
        default=None,
        min_length=1,
        description="Metric by which cells are ranked, on validation rows. Omit: eval.best, else the task's first.",
    )
    greater_is_better: bool | None = Field(
        default=None,
        description="Whether a higher metric is better. Omit: as defined for the metric; true for your own.",
    )
    halving: Halving = Field(default_factory=Halving, description="Stop weak cells early.")
    parallel: Count | None = Field(
        default=None,
        description="Cells that run at once on each device; results do not depend on it. Omit: one on a GPU; on a CPU "
        "two, or as many as there are cores for train.torch_num_threads.",
    )
    runner: Literal["processes", "ray", "dask"] = Field(
        default="processes", description="Where cells run: this machine, or a Ray or Dask cluster (extras ray, dask)."
    )
    address: str | None = Field(
        default=None, min_length=1, description="Address of the Ray or Dask cluster. Omit: a local one is started."
    )

    @field_validator("grid", "paired", "random", mode="before")
    @classmethod
    def _axes(cls, axes: object, info: ValidationInfo) -> object:
        """Report an invalid axis by name: pydantic's location of such an error would be lost."""
        for name, values in axes.items() if is_mapping(axes) else ():
            if is_sequence(values) or (info.field_name == "random" and _is_range(values)):
                continue
            valid = (
                "{low: …, high: …}, optionally with log or step, or a list" if info.field_name == "random" else "a list"
            )
            raise ValueError(f"{name}: {values!r} given; valid: {valid}")
        return axes

    @model_validator(mode="after")
    def _can_be_run(self) -> SweepConfig:
        if self.address is not None and self.runner == "processes":
            raise ValueError(f"address {self.address} is for a cluster; set runner: ray or dask")
        twice = next((seed for seed in self.seeds if self.seeds.count(seed) > 1), None)
        if twice is not None:
            raise ValueError(f"seeds: {twice} is given twice; use different seeds")
        pairs = max((len(values) for values in self.paired.values()), default=1)
        cells = prod(map(len, self.grid.values())) * pairs * (self.n_trials or 1) * max(len(self.seeds), 1)
        if cells > MOST_CELLS:
            raise ValueError(
                f"{cells:,} cells are more than the limit of {MOST_CELLS:,}; sample them with random and n_trials"
            )
        return self

    @model_validator(mode="after")
    def _adds_up(self) -> SweepConfig:
        lengths = {name: len(values) for name, values in self.paired.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"paired axes must be equally long: {shown}")
        if bool(self.random) != (self.n_trials is not None):
            raise ValueError("random and n_trials must be set together")
        if self.sampler == "tpe" and not self.random:
            raise ValueError("sampler tpe needs axes in random to draw from")
        if self.sampler == "tpe" and (self.grid or self.paired):
            raise ValueError("sampler tpe chooses all cells itself; move the axes of grid and paired to random")
        if self.sampler == "tpe" and self.halving.factor is not None:
            raise ValueError("sampler tpe learns from finished cells, so it cannot be combined with halving")
        axes = [*self.grid, *self.paired, *self.random, *self.derive]
        twice = next((name for name in axes if axes.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice in grid, paired, random and derive")
        fixed = next((name for name in axes if name.split(".")[0] in FIXED), None)
        if fixed is not None:
            raise ValueError(f"{fixed} cannot vary in a sweep{FIXED[fixed.split('.')[0]]}")
        if not axes and not self.seeds:
            raise ValueError("nothing varies; set grid, paired, random or seeds")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Allow only axes that are fields of a config in the schema, and require at least one property."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        for name in ("grid", "paired", "random", "derive"):
            body["properties"][name]["propertyNames"] = _axis_names()
        body["minProperties"] = 1
        return schema


def _axis_names() -> JsonObject:
    from tasks.config.reading.old_names import RENAMED
    from tasks.config.reading.problems import known_names  # imported here: it imports the sections

    names = sorted(name for name in known_names() if name.split(".")[0] not in FIXED)
    sections = {name.rpartition(".")[0] for name in names}
    inside = "|".join(re.escape(name) for name in names if name not in sections)  # keys of a field that is a mapping
    return {"anyOf": [{"enum": [*names, *(f"train.{old}" for old in sorted(RENAMED))]}, {"pattern": f"^({inside})[.]"}]}


def _is_range(values: object) -> bool:
    if isinstance(values, Range):
        return True
    return is_mapping(values) and {"low", "high"} <= set(values) <= set(Range.model_fields)


FIXED = {
    "seed": "; use sweep.seeds",
    "store": ": all cells share one store",
    "output_dir": ": only the best cell's model is saved there",
    "name": ": cells are named by their values",
}
