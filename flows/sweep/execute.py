"""Run a sweep: cells are submitted, some are stopped early, the best one is trained to the end and tested."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.sweep.result import Grid
from tasks.config import Loaded, LoadedSweep, RunConfig, SweepConfig
from tasks.config.errors import ConfigError, Interrupted
from tasks.config.leaves import given, leaves
from tasks.execution.execute import current_caller, open_store, run_name, store_root
from tasks.execution.preflight import check_paths
from tasks.objectives.presets import resolve
from tasks.runtime.context import now
from tasks.runtime.log import info
from tasks.runtime.parallel.fanout import Fanout, warn_of
from tasks.runtime.parallel.reach import api_url, check_api
from tasks.runtime.parallel.slots import devices
from tasks.sweep.axes import corners
from tasks.sweep.board import Outcome, by_group, mean_of
from tasks.sweep.cells import Cell, cells_of
from tasks.sweep.goal import Goal, goal_of
from tasks.sweep.halving import agreement, scored_at_both, shares, survivors

BEST = "best"


@dataclass(frozen=True)
class CellProgress:
    """What a listener is called with: a cell that ended, how many have ended, and of how many."""

    label: str
    outcome: Outcome
    done: int
    of: int


_listener: ContextVar[Callable[[CellProgress], None] | None] = ContextVar("finetune_sweep_listener", default=None)


@contextmanager
def cell_listener(listener: Callable[[CellProgress], None] | None) -> Iterator[None]:
    """Within, a sweep calls `listener` with each cell as it ends."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def execute_sweep(config: RunConfig, sweep: SweepConfig, note: Callable[[Grid], None]) -> Grid:
    """Run a sweep as the current flow run.

    Args:
        note: writes its record; called when cells begin, and again if it ends before there is a leaderboard.

    Raises:
        ConfigError, MachineError: invalid cells or unusable paths, before any cell starts.
    """
    # In a deployment's run the origins of the values are unknown.
    origin = current_caller().origin or {leaf.path: "the sweep's base" for leaf in leaves(config) if leaf.is_set}
    base = LoadedSweep(Loaded(config, origin, ()), sweep)
    resolved = resolve(config, {})[0]
    goal = goal_of(resolved, sweep)
    if store_root(config.store) == "memory":
        raise ConfigError("store.root: memory is lost with each cell's process, so cells would share nothing; name a "
                          "folder")  # fmt: skip
    varied = {*sweep.grid, *sweep.paired, *sweep.random, *sweep.derive}
    check_api(sweep, api_url())
    store = open_store(config.store)
    if overwritten := check_paths(resolved, store, probe=True, varied=varied):
        info(f"output_dir: {overwritten}; the best cell's model replaces it")
    grid = Grid(run_name(), cells_of(base, corners(sweep)), {}, goal, [], base)
    if sweep.sampler == "tpe":
        grid.cells.clear()  # cells are drawn later; the corners were only created to check the space
    slots = devices(sweep.parallel, config.train.torch_num_threads)
    grid.unfinished = "running"
    with store.run_lock(grid.run):
        note(grid)
        try:
            with Fanout(sweep, slots) as fanout:
                _Sweeping(grid, resolved, fanout).run()
        except BaseException as error:
            stopped = isinstance(error, Interrupted) or not isinstance(error, Exception)
            grid.unfinished, grid.ended = "interrupted" if stopped else "failed", now()
            grid.rank()
            note(grid)
            raise
    return grid


@dataclass
class _Sweeping:
    grid: Grid
    resolved: RunConfig
    fanout: Fanout
    built: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Run all cells, then the best one to its end."""
        if self.grid.base.sweep.sampler == "tpe":
            self.search()
        else:
            self.halve()
        self.finish_best()

    def halve(self) -> None:
        """Run the remaining cells to each rung; without halving the only rung is the end."""
        groups, halving = by_group(self.grid.cells), self.grid.base.sweep.halving
        before: dict[int, float | None] = {}
        for share in shares(len(groups), halving):
            self._run([cell for cells in groups.values() for cell in cells], share)
            goal = self._settle()
            scores = {g: mean_of(cells, self.grid.outcomes, goal.metric, share) for g, cells in groups.items()}
            if halving.factor is not None:
                common = len(scored_at_both(before, scores))
                self.grid.rungs.append({"share": share, "groups": len(groups), "common": common,
                                        "agreement": agreement(before, scores)})  # fmt: skip
            if share < 1:
                losses = {g: mean_of(cells, self.grid.outcomes, "eval_loss", share) for g, cells in groups.items()}
                kept = survivors(scores, halving.factor or 2, goal.greater_is_better, losses)
                groups, before = {g: groups[g] for g in kept}, scores

    def search(self) -> None:
        """Run cells in batches, each proposed from the results of the batches before."""
        from tasks.sweep.search import Search

        search = Search(self.grid.base.sweep, self.grid.goal.greater_is_better)
        while settings := search.ask():
            groups = len(by_group(self.grid.cells))
            cells = cells_of(self.grid.base, settings, groups)
            self.grid.cells += cells
            self._run(cells, 1.0)
            goal = self._settle()
            search.tell([mean_of(each, self.grid.outcomes, goal.metric) for each in by_group(cells).values()])

    def finish_best(self) -> None:
        """Rank the cells; run the best one again as its own run, which tests and saves it."""
        grid, goal = self.grid, self._settle()
        grid.rank()
        first = next((row for row in grid.rows if row.rank == 1), None)
        if first is not None:
            up = 1 if goal.greater_is_better else -1
            group = [cell for cell in grid.cells if cell.group == first.group]
            cell = max(group, key=lambda each: up * grid.outcomes[each.index].metrics[goal.metric])
            whole = grid.base.cell(cell.overrides)
            order = {"label": f"{BEST}: {cell.label}", **_order_of(whole), "until": None, "overwrite": True}
            [found] = self.fanout.run([order], lambda at, outcome: self._note(order["label"], outcome, 1, 1))
            if found["state"] == "completed":
                grid.best = {"overrides": dict(cell.overrides), "metrics": found["metrics"], "run": found["run"],
                             "path": found["path"], "kept": found.get("kept"), "cell": cell.index}  # fmt: skip
            else:
                grid.best_failure = _outcome(found, None, 1.0)
        grid.ended, grid.unfinished = now(), None

    def _run(self, cells: Sequence[Cell], share: float) -> None:
        until = None if share >= 1 else share
        rung = "" if until is None else f" (to {share:.0%})"
        orders = [{"label": f"{cell.label}{rung}", **_order_of(cell.loaded), "until": until} for cell in cells]
        done = [0]

        def on_end(at: int, found: Mapping[str, Any]) -> None:
            done[0] += 1
            index = cells[at].index
            self.grid.outcomes[index] = _outcome(found, self.grid.outcomes.get(index), share)
            self._note(orders[at]["label"], found, done[0], len(cells))

        self.fanout.run(orders, on_end)

    def _note(self, label: str, found: Mapping[str, Any], done: int, of: int) -> None:
        self.built.update(entry["stage"] for entry in found.get("stages", []) if entry["state"] == "built")
        self.grid.built = dict(sorted(self.built.items()))
        warn_of(label, found)
        if listener := _listener.get():
            listener(CellProgress(label, _outcome(found, None, 1.0), done, of))

    def _settle(self) -> Goal:
        """The goal, from the metrics that the finished cells reported."""
        metrics = [outcome.metrics for outcome in self.grid.outcomes.values()]
        self.grid.goal = goal_of(self.resolved, self.grid.base.sweep, metrics)
        return self.grid.goal


def _order_of(loaded: Loaded) -> dict[str, Any]:
    """Return a config as JSON, with the folder of its relative paths and the machine that has this folder."""
    return {"config": given(loaded.config), "origin": dict(loaded.origin), "folder": str(Path.cwd()),
            "host": socket.gethostname()}  # fmt: skip


def _outcome(found: Mapping[str, Any], before: Outcome | None, share: float) -> Outcome:
    """Return a cell's outcome at a rung, merged with its outcome at earlier rungs."""
    rungs = dict(before.rungs) if before else {}
    if found["state"] in ("completed", "paused"):
        then = found.get("metrics_then")
        rungs[share] = then if then is not None else found["metrics"]
    built = [entry["stage"] for entry in found.get("stages", []) if entry["state"] == "built"]
    step, total = found.get("rung") or (before.steps if before else (0, 0))
    return Outcome(
        found["state"], found.get("metrics") or {}, rungs, (step, total), tuple(built), found.get("run"),
        found.get("error"), found.get("kind"), (before.seconds if before else 0.0) + found.get("seconds", 0.0),
        found.get("curve") or (),
    )  # fmt: skip
