"""Estimate the cost of a sweep: its cells are looked up in the store, and shared results are counted once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flows.pipeline import pipeline
from tasks import OPTIONAL_STAGES, STAGES
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
TRAIN, LAST = "s09_train", STAGES[-1]
Looked = tuple[RunContext, Estimate | None]


@dataclass(frozen=True)
class SweepCost:
    """The cost of a sweep. `steps` and the fields after it are None if they depend on data that has not been read yet.

    Attributes:
        cells: how many; `looked_at`: how many were looked up, from which the rest is extrapolated.
        stages: by name, how many different results the cells and the final run of the best one need: `built` are
            missing (with halving: on average), `found` are cached.
        rungs: (share of the training, cells trained up to it).
        steps: optimizer steps that will be taken; `full`: those of all cells, with nothing found or stopped early.
        at_once: concurrent cells on each device. memory: peak bytes of all concurrent cells on one device.
        disk: upper bound of bytes in the store. seconds: of training on all devices; None if nothing similar was
            trained here before.
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
    """Estimate what a sweep would do and cost; write nothing.

    Raises:
        ConfigError: invalid cells.
    """
    with launch.blocks_at_hand(loaded.base.config.secrets):
        goal_of(resolve(loaded.base.config, {})[0], loaded.sweep)
        # What a search will draw is unknown; random draws cost the same.
        cells = cells_of(loaded, settings_of(loaded.sweep))
        every = -(-len(cells) // MOST_LOOKED_AT)
        looked = list(_dry_runs(cell.loaded for cell in cells[::every]))
        slots = devices(loaded.sweep.parallel, loaded.base.config.train.torch_num_threads)
        return _sweep_cost(loaded.sweep, cells, looked, _plan_of_best(loaded, cells[::every], looked), slots)


def _dry_runs(
    runs: Iterable[Loaded], context: RunContext | None = None
) -> Iterator[tuple[RunContext, Estimate | None]]:
    for each in runs:
        resolved, context = dry_run(each.config, pipeline, CallerOptions(each.origin), run_in_plan=True, beside=context)
        yield context, estimate(resolved, context)


def _plan_of_best(loaded: LoadedSweep, cells: Sequence[Cell], looked: Sequence[Looked]) -> RunContext:
    """Return the plan of the best cell, which is tested and saved too: one whose last stage is cached, else any."""
    done = all(_is_there(context, LAST) for context, _ in looked)
    runs = (loaded.cell(cell.overrides) for cell in (cells if done else cells[:1]))
    found = [context for context, _ in _dry_runs(runs, looked[-1][0])]
    return next((context for context in found if _is_there(context, LAST)), found[0])


def _sweep_cost(
    sweep: SweepConfig, cells: Sequence[Cell], looked: Sequence[Looked], best: RunContext, at_once: dict[str, int]
) -> SweepCost:
    groups = len(by_group(cells))
    rungs, scale = schedule(groups, sweep.halving), len(cells) / len(looked)
    finished = rungs[-1][1] / groups
    contexts, stages = [context for context, _ in looked], {}
    for stage in sorted((*STAGES, *OPTIONAL_STAGES)):
        having = [context for context in (*contexts, best) if stage in context.refs]
        if not having:
            continue
        found = {context.refs[stage].key for context in having if _is_there(context, stage)}
        needed = {context.refs[stage].key for context in contexts if stage in context.refs} - found
        own = len(needed) == len(looked) > 1  # each cell has its own
        built = len(needed) * (scale if own else 1.0) * (finished if stage >= TRAIN else 1.0)
        of_the_best = {context.refs[stage].key for context in having if context is best} - needed - found
        stages[stage] = {"built": round(built) + len(of_the_best), "found": len(found)}
    costs = [cost for _, cost in looked if cost is not None]
    fields: dict[str, Any] = {"cells": len(cells), "looked_at": len(looked), "stages": stages, "at_once": at_once,
            "rungs": [(share, count * len(cells) // groups) for share, count in rungs]}  # fmt: skip
    if len(costs) < len(looked):
        return SweepCost(**fields, steps=None, full=None, memory=None, disk=None, seconds=None)
    new = {context.refs["s09_train"].key: cost for context, cost in zip(contexts, costs, strict=True)
           if not _is_there(context, "s09_train")}  # fmt: skip
    before = [0.0, *(share for share, _ in rungs)]
    share = sum(count / groups * (share - earlier) for (share, count), earlier in zip(rungs, before, strict=False))
    paces = [cost.seconds for cost in new.values()]
    known = [seconds for seconds in paces if seconds is not None]
    seconds = fmean(known) * len(new) * scale * share / sum(at_once.values()) if known else None if new else 0.0
    return SweepCost(
        **fields, steps=round(sum(cost.steps for cost in new.values()) * scale * share),
        full=round(sum(cost.steps for cost in costs) * scale),
        memory=max(cost.memory for cost in costs) * max(at_once.values()),
        disk=round(sum(cost.disk for cost in new.values()) * scale), seconds=seconds,
    )  # fmt: skip


def _is_there(context: RunContext, stage: str) -> bool:
    return next(entry.state for entry in context.entries if entry.stage == stage) == "hit"
