"""`sweep`: many runs of one config, each with other values; `finetune grid` carries them out."""

from __future__ import annotations

import re
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from tasks.config.sections.section import NO_TRUTH, Count, Section, Seed

MOST_CELLS = 10_000  # more is most likely a mistake: axes multiply
Values = Annotated[list[Any], Field(min_length=1)]


class Halving(Section):
    """Successive halving (Jamieson & Talwalkar 2016): weak cells stop early, the rest go on from their checkpoints."""

    factor: Annotated[int, Field(ge=2), NO_TRUTH] | None = Field(
        default=None, description="At each rung the best 1/factor of the cells go on. Omit: all are trained in full."
    )
    first: Annotated[float, Field(gt=0, lt=1), NO_TRUTH] | None = Field(
        default=None,
        description="Share of the training after which the first rung is judged; each rung is factor times as far. "
        "Omit: 1/factor to the power of as many rungs as halve the cells to one or two, three at most.",
    )

    @model_validator(mode="after")
    def _first_of_some(self) -> Halving:
        if self.first is not None and self.factor is None:
            raise ValueError("first says where the first rung is, and there are none; give factor")
        return self

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping behind `halving: 3` and `halving: true`."""
        if isinstance(value, bool):
            return {"factor": 3} if value else {}
        return {"factor": value} if isinstance(value, int) else super().expand(value)


class Range(Section):
    """Numbers to draw from."""

    low: float = Field(description="Least value.")
    high: float = Field(description="Greatest value.")
    log: bool = Field(default=False, description="Draw evenly on a logarithmic scale.")
    step: Annotated[float, Field(gt=0), NO_TRUTH] | None = Field(
        default=None, description="Draw low, low + step, …; with whole numbers all drawn values are whole."
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
    """What varies, how it is searched, and where its runs go. Names of axes are dotted fields of the config."""

    grid: dict[str, Values] = Field(
        default_factory=dict, description="Axes whose every combination is run: train.learning_rate: [1e-4, 2e-4]."
    )
    paired: dict[str, Values] = Field(
        default_factory=dict, description="Axes that go together: the first values of all, the second values of all, …"
    )
    random: dict[str, Range | Values] = Field(
        default_factory=dict, description="Axes to draw from, n_trials times: {low, high, log, step}, or a list."
    )
    n_trials: Count | None = Field(default=None, description="How many times `random` is drawn.")
    sampler: Literal["random", "tpe"] = Field(
        default="random",
        description="How `random` is drawn: random, or tpe (Optuna: later draws learn from earlier results).",
    )
    batch: Count = Field(
        default=4,
        description="tpe: cells drawn at a time, whatever runs at once, so that a rerun draws alike.",
    )
    seed: Seed = Field(default=0, description="Seed of the draws.")
    derive: dict[str, str] = Field(
        default_factory=dict, description="Fields computed from others: peft.lora_alpha: 2 * peft.r."
    )
    seeds: list[Seed] = Field(
        default_factory=list, description="Every cell is run with each of these seeds; their mean and spread count."
    )
    metric: str | None = Field(
        default=None,
        min_length=1,
        description="What cells are ranked by, on the validation rows. Omit: eval.best, else the task's first.",
    )
    greater_is_better: bool | None = Field(
        default=None, description="Which way is up. Omit: as the metric's nature says; of your own, up."
    )
    halving: Halving = Field(default_factory=Halving, description="Stop weak cells early.")
    parallel: Count | None = Field(
        default=None,
        description="Cells at once on each device; no cell's result depends on it. Omit: one on a GPU; on a CPU "
        "two, or as many as train.torch_num_threads leaves cores for.",
    )
    runner: Literal["processes", "ray", "dask"] = Field(
        default="processes", description="Where cells run: this machine, or a Ray or Dask cluster (extras ray, dask)."
    )
    address: str | None = Field(
        default=None, min_length=1, description="Address of the Ray or Dask cluster. Omit: a local one is started."
    )

    @field_validator("grid", "paired", "random", mode="before")
    @classmethod
    def _axes(cls, axes: Any, info: Any) -> Any:
        """Name the axis that is none: the location of such an error is lost on the way to the user."""
        for name, values in axes.items() if isinstance(axes, dict) else ():
            if isinstance(values, list | tuple) or (info.field_name == "random" and _is_range(values)):
                continue
            valid = "{low: …, high: …}, maybe with log or step, or a list" if info.field_name == "random" else "a list"
            raise ValueError(f"{name}: {values!r} given; valid: {valid}")
        return axes

    @model_validator(mode="after")
    def _can_be_run(self) -> SweepConfig:
        if self.address is not None and self.runner == "processes":
            raise ValueError(f"address {self.address} is of a cluster; say of which kind: runner ray or dask")
        twice = next((seed for seed in self.seeds if self.seeds.count(seed) > 1), None)
        if twice is not None:
            raise ValueError(f"seeds: {twice} is named twice; the same run again says nothing of the spread")
        pairs = max((len(values) for values in self.paired.values()), default=1)
        cells = prod(map(len, self.grid.values())) * pairs * (self.n_trials or 1) * max(len(self.seeds), 1)
        if cells > MOST_CELLS:
            raise ValueError(f"{cells:,} cells are more than {MOST_CELLS:,}; draw some of them: random, with n_trials")
        return self

    @model_validator(mode="after")
    def _adds_up(self) -> SweepConfig:
        lengths = {name: len(values) for name, values in self.paired.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"paired axes must be equally long: {said}")
        if bool(self.random) != (self.n_trials is not None):
            raise ValueError("random and n_trials go together: what to draw from, and how often")
        if self.sampler == "tpe" and not self.random:
            raise ValueError("sampler tpe needs axes in random to draw from")
        if self.sampler == "tpe" and (self.grid or self.paired):
            raise ValueError("sampler tpe chooses all cells itself; put the axes of grid and paired into random")
        if self.sampler == "tpe" and self.halving.factor is not None:
            raise ValueError("sampler tpe learns from finished cells; it and halving exclude each other")
        axes = [*self.grid, *self.paired, *self.random, *self.derive]
        twice = next((name for name in axes if axes.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is named twice among grid, paired, random and derive")
        strange = next((name for name in axes if name.split(".")[0] in FIXED), None)
        if strange is not None:
            raise ValueError(f"{strange} cannot vary in a sweep{FIXED[strange.split('.')[0]]}")
        if not axes and not self.seeds:
            raise ValueError("nothing varies; give grid, paired, random or seeds")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema admits axes that are fields of a config, and no typo; and not that nothing is given."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        for name in ("grid", "paired", "random", "derive"):
            body["properties"][name]["propertyNames"] = _axis_names()
        body["minProperties"] = 1
        return schema


def _axis_names() -> dict[str, Any]:
    from tasks.config.reading.old_names import RENAMED
    from tasks.config.reading.problems import known_names  # it reads the sections

    names = sorted(name for name in known_names() if name.split(".")[0] not in FIXED)
    sections = {name.rpartition(".")[0] for name in names}
    inside = "|".join(re.escape(name) for name in names if name not in sections)  # of a field that holds a mapping
    return {"anyOf": [{"enum": [*names, *(f"train.{old}" for old in sorted(RENAMED))]}, {"pattern": f"^({inside})[.]"}]}


def _is_range(values: Any) -> bool:
    if isinstance(values, Range):
        return True
    return isinstance(values, dict) and {"low", "high"} <= set(values) <= set(Range.model_fields)


FIXED = {
    "seed": "; use sweep.seeds",
    "store": ": all cells share one store",
    "output_dir": ": only the best cell's model is saved there",
    "name": ": cells are named by their values",
}
