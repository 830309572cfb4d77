"""The estimated cost of a sweep: its cells are looked up in the store, and shared results are counted once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flows.pipeline import pipeline
from tasks import STAGES
from tasks.config import Loaded, LoadedSweep, SweepConfig
from tasks.execution.estimate import Estimate, estimate
from tasks.execution.execute import CallerOptions, dry_run
from tasks.objectives.presets import resolve
from tasks.runtime.context import RunContext
from tasks.runtime.parallel.slots import devices
from tasks.runtime.prefect_api import launch
from tasks.sweep.axes import settings_of
from tasks.sweep.board import by_group
from tasks.sweep.cells import Cell, cells_of
from tasks.sweep.goal import goal_of
from tasks.sweep.halving import schedule

MOST_LOOKED_AT = 100  # a lookup takes a tenth of a second
TRAIN, LAST = STAGES.index("s09_train"), STAGES[-1]
Looked = tuple[RunContext, Estimate | None]


@dataclass(frozen=True)
class SweepCost:
    """The cost of a sweep. `steps` and the fields after it are None if they depend on data that were not read yet.

    Attributes:
        cells: how many; `looked_at`: how many were looked up, from which the rest is extrapolated.
        stages: by name, how many different results the cells need, the best one's last run included: `built` are not
            there yet (of halving: in the mean), `found` are.
        rungs: (share of the training, cells that are trained up to it).
        steps: optimizer steps that will be taken; `full`: those of all cells, with nothing found or stopped early.
        at_once: cells at a time on each device. memory: bytes at the peak, of all cells at once on one device.
        disk: bytes the store will hold for it at most. seconds: of training, all devices at it; None if nothing like it
            was trained here before.
    """

    cells: int
    looked_at: int
    stages: dict[str, dict[str, int]]
    rungs: list[tuple[float, int]]
    at_once: dict[str, int]
    steps: int | None
    full: int | None
    memory: int | None
    disk: int | None
    seconds: float | None


def plan_sweep(loaded: LoadedSweep) -> SweepCost:
    """Estimate what a sweep would do and cost; nothing is written.

    Raises:
        ConfigError: invalid cells.
    """
    with launch.blocks_at_hand(loaded.base.config.secrets):
        goal_of(resolve(loaded.base.config, {})[0], loaded.sweep)
        # What a search will draw is unknown; random draws cost the same.
        cells = cells_of(loaded, settings_of(loaded.sweep))
        every = -(-len(cells) // MOST_LOOKED_AT)
        looked = list(_rehearsed(cell.loaded for cell in cells[::every]))
        slots = devices(loaded.sweep.parallel, loaded.base.config.train.torch_num_threads)
        return _reckon(loaded.sweep, cells, looked, _as_best(loaded, cells[::every], looked), slots)


def _rehearsed(
    runs: Iterable[Loaded], context: RunContext | None = None
) -> Iterator[tuple[RunContext, Estimate | None]]:
    for each in runs:
        resolved, context = dry_run(each.config, pipeline, CallerOptions(each.origin), run_in_plan=True, beside=context)
        yield context, estimate(resolved, context)


def _as_best(loaded: LoadedSweep, cells: Sequence[Cell], looked: Sequence[Looked]) -> RunContext:
    """The plan of the best cell, which is tested and saved too: one whose last stage is in the store, else any."""
    done = all(_is_there(context, LAST) for context, _ in looked)
    runs = (loaded.cell(cell.overrides) for cell in (cells if done else cells[:1]))
    found = [context for context, _ in _rehearsed(runs, looked[-1][0])]
    return next((context for context in found if _is_there(context, LAST)), found[0])


def _reckon(
    sweep: SweepConfig, cells: Sequence[Cell], looked: Sequence[Looked], best: RunContext, at_once: dict[str, int]
) -> SweepCost:
    groups = len(by_group(cells))
    rungs, scale = schedule(groups, sweep.halving), len(cells) / len(looked)
    finished = rungs[-1][1] / groups
    contexts, stages = [context for context, _ in looked], {}
    for at, stage in enumerate(STAGES):
        found = {context.refs[stage].key for context in (*contexts, best) if _is_there(context, stage)}
        needed = {context.refs[stage].key for context in contexts} - found
        own = len(needed) == len(looked) > 1  # each cell has its own
        built = len(needed) * (scale if own else 1.0) * (finished if at >= TRAIN else 1.0)
        of_the_best = {best.refs[stage].key} - needed - found
        stages[stage] = {"built": round(built) + len(of_the_best), "found": len(found)}
    costs = [cost for _, cost in looked if cost is not None]
    told: dict[str, Any] = {"cells": len(cells), "looked_at": len(looked), "stages": stages, "at_once": at_once,
            "rungs": [(share, count * len(cells) // groups) for share, count in rungs]}  # fmt: skip
    if len(costs) < len(looked):
        return SweepCost(**told, steps=None, full=None, memory=None, disk=None, seconds=None)
    new = {context.refs["s09_train"].key: cost for context, cost in zip(contexts, costs, strict=True)
           if not _is_there(context, "s09_train")}  # fmt: skip
    before = [0.0, *(share for share, _ in rungs)]
    share = sum(count / groups * (share - earlier) for (share, count), earlier in zip(rungs, before, strict=False))
    paces = [cost.seconds for cost in new.values()]
    known = [seconds for seconds in paces if seconds is not None]
    seconds = fmean(known) * len(new) * scale * share / sum(at_once.values()) if known else None if new else 0.0
    return SweepCost(
        **told, steps=round(sum(cost.steps for cost in new.values()) * scale * share),
        full=round(sum(cost.steps for cost in costs) * scale),
        memory=max(cost.memory for cost in costs) * max(at_once.values()),
        disk=round(sum(cost.disk for cost in new.values()) * scale), seconds=seconds,
    )  # fmt: skip


def _is_there(context: RunContext, stage: str) -> bool:
    return next(entry.state for entry in context.entries if entry.stage == stage) == "hit"
