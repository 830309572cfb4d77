"""How a sweep runs: cells are submitted, some are stopped early, the best one is trained to the end and tested."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.config import Loaded, LoadedSweep, RunConfig, SweepConfig
from tasks.config.errors import ConfigError, DataError, MachineError, TrainingError
from tasks.config.leaves import given, leaves
from tasks.execution.execute import current_caller, open_store, run_name, store_root
from tasks.execution.preflight import check_paths
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import now
from tasks.runtime.log import say
from tasks.runtime.parallel.fanout import Fanout, warn_of
from tasks.runtime.parallel.reach import api_url, check_api
from tasks.runtime.parallel.slots import devices
from tasks.sweep.axes import corners
from tasks.sweep.board import Outcome, Row, as_table, by_group, leaderboard, mean_of
from tasks.sweep.cells import Cell, cells_of
from tasks.sweep.goal import Goal, goal_of
from tasks.sweep.halving import agreement, scored_at_both, shares, survivors

BEST = "best"
KINDS = {kind.__name__: kind for kind in (ConfigError, DataError, TrainingError, MachineError)}
SHOWN_ERRORS = 3


@dataclass(frozen=True)
class Told:
    """What a listener is called with: a cell that ended, how many have ended, and of how many."""

    label: str
    outcome: Outcome
    done: int
    of: int


_listener: ContextVar[Callable[[Told], None] | None] = ContextVar("finetune_sweep_listener", default=None)


@contextmanager
def listening(listener: Callable[[Told], None] | None) -> Iterator[None]:
    """Within, a sweep that starts calls `listener` with each of its cells that ends."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@dataclass
class Grid:
    """A finished sweep. `model, tokenizer = grid(config)` gives the best cell's.

    Attributes:
        run: its name. cells, outcomes: what was run, and the outcome of each by index.
        goal: the metric that ranks. rows: the leaderboard.
        best: the winner: `overrides`, `metrics` (validation and test), `run`, `path`; None if there is none.
        rungs: of halving: `{"share", "groups", "common", "agreement"}`: how many groups have a score at this rung
            and the one before, and the rank correlation of the two (None: see `tasks.sweep.halving.agreement`).
        built: how often each stage was built, not found, over all processes.
        uncrowned: what came of the best cell's own run if it was not finished.
        started, ended: when, in UTC, as ISO 8601.
    """

    run: str
    cells: list[Cell]
    outcomes: dict[int, Outcome]
    goal: Goal
    rows: list[Row]
    base: LoadedSweep
    best: dict[str, Any] | None = None
    rungs: list[dict[str, Any]] = field(default_factory=list)
    built: dict[str, int] = field(default_factory=dict)
    uncrowned: Outcome | None = None
    started: str = field(default_factory=now)
    ended: str | None = None

    @property
    def failed(self) -> list[Cell]:
        """Cells that are neither completed nor stopped early by halving."""
        return [cell for cell in self.cells if self.outcomes.get(cell.index, Outcome("interrupted")).failed]

    @property
    def state(self) -> str:
        """`completed`, `partial` (some cells failed) or `failed` (all did)."""
        return "failed" if self.best is None else "partial" if self.failed else "completed"

    def raise_if_failed(self) -> None:
        """Raise why there is no best cell: the cells' own kind of error if they share one, else TrainingError."""
        if self.best is not None:
            return
        ended = [self.outcomes[cell.index] for cell in self.failed if cell.index in self.outcomes]
        if self.uncrowned is not None:
            ended, said = [self.uncrowned], "the cells are done, but the best one's run to test and save it failed"
        elif len(self.failed) == len(self.cells):
            said = f"all {len(self.cells)} cells of the sweep failed"
        else:
            names = dict.fromkeys(name for outcome in self.outcomes.values() for name in outcome.metrics)
            there = ", ".join(names) or "no metrics"
            ended, said = [], f"no finished cell has a number for {self.goal.metric}; there are {there}"
        kinds = {outcome.kind for outcome in ended}
        raised = KINDS.get(kinds.pop() or "", TrainingError) if len(kinds) == 1 else TrainingError
        errors = list(dict.fromkeys(outcome.error for outcome in ended if outcome.error))[:SHOWN_ERRORS]
        raise raised("\n- ".join([f"{said}:" if errors else said, *errors]))

    @property
    def steps(self) -> dict[str, int]:
        """Optimizer steps the cells took, and what all would have taken in full."""
        known = [outcome.steps for outcome in self.outcomes.values() if outcome.steps[1]]
        total = max((of for _, of in known), default=0)
        return {"spent": sum(done for done, _ in known), "full": sum(of for _, of in known) or total}

    @property
    def table(self) -> Any:
        """The leaderboard as a `pyarrow.Table`."""
        return as_table(self.rows)

    @cached_property
    def winner(self) -> FineTuned:
        """The best cell, as `finetune` would return it: all its stages are found.

        Raises:
            TrainingError: no cell was finished.
        """
        if self.best is None:
            raise TrainingError("no cell of this sweep was finished, so there is no best one")
        from flows.pipeline import pipeline
        from tasks.execution.execute import CallerOptions, entering, execute

        loaded = self.base.cell(self.best["overrides"])
        with entering(CallerOptions(loaded.origin, overwrite=True)):
            done = execute(loaded.config, pipeline)
        assert isinstance(done, FineTuned)
        return done

    def __iter__(self) -> Iterator[Any]:
        return iter(self.winner)

    def __repr__(self) -> str:
        return f"Grid(run={self.run!r}, state={self.state!r}, cells={len(self.cells)}, best={self.best})"


def carry_sweep(config: RunConfig, sweep: SweepConfig) -> Grid:
    """Run a sweep as the current flow run.

    Raises:
        ConfigError, MachineError: invalid cells or unusable places, before any cell starts.
    """
    # A deployment's run has no origins of its values.
    origin = current_caller().origin or {leaf.path: "the sweep's base" for leaf in leaves(config) if leaf.is_set}
    base = LoadedSweep(Loaded(config, origin, ()), sweep)
    resolved = resolve(config, {})[0]
    goal = goal_of(resolved, sweep)
    if store_root(config.store) == "memory":
        raise ConfigError("store.root: memory is gone with each cell's process, so cells would share nothing; name a "
                          "folder")  # fmt: skip
    varied = {*sweep.grid, *sweep.paired, *sweep.random, *sweep.derive}
    check_api(sweep, api_url())
    if overwritten := check_paths(resolved, open_store(config.store), probe=True, varied=varied):
        say(f"output_dir: {overwritten}; the best cell's takes its place")
    grid = Grid(run_name(), cells_of(base, corners(sweep)), {}, goal, [], base)
    if sweep.sampler == "tpe":
        grid.cells.clear()  # what is drawn later is not known yet, but what it is drawn from can be
    slots = devices(sweep.parallel, config.train.torch_num_threads)
    with Fanout(sweep, slots) as fanout:
        sweeping = _Sweeping(grid, resolved, fanout)
        if sweep.sampler == "tpe":
            sweeping.search()
        else:
            sweeping.halve()
        sweeping.crown()
    return grid


@dataclass
class _Sweeping:
    grid: Grid
    resolved: RunConfig
    fanout: Fanout
    built: Counter[str] = field(default_factory=Counter)

    def halve(self) -> None:
        """Run to each rung the cells that are still in; without halving the only rung is the end."""
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

    def crown(self) -> None:
        """Rank the cells; run the best one as a run of its own, tested and saved."""
        grid, goal = self.grid, self._settle()
        grid.rows = leaderboard(grid.cells, grid.outcomes, goal.metric, goal.greater_is_better)
        first = next((row for row in grid.rows if row.rank == 1), None)
        if first is not None:
            up = 1 if goal.greater_is_better else -1
            group = [cell for cell in grid.cells if cell.group == first.group]
            cell = max(group, key=lambda each: up * grid.outcomes[each.index].metrics[goal.metric])
            whole = grid.base.cell(cell.overrides)
            order = {"label": f"{BEST}: {cell.label}", **_described(whole), "until": None, "overwrite": True}
            [found] = self.fanout.run([order], lambda at, outcome: self._note(order["label"], outcome, 1, 1))
            if found["state"] == "completed":
                grid.best = {"overrides": dict(cell.overrides), "metrics": found["metrics"], "run": found["run"],
                             "path": found["path"], "kept": found.get("kept"), "cell": cell.index}  # fmt: skip
            else:
                grid.uncrowned = _outcome(found, None, 1.0)
        grid.built, grid.ended = dict(sorted(self.built.items())), now()

    def _run(self, cells: Sequence[Cell], share: float) -> None:
        until = None if share >= 1 else share
        rung = "" if until is None else f" (to {share:.0%})"
        orders = [{"label": f"{cell.label}{rung}", **_described(cell.loaded), "until": until} for cell in cells]
        done = [0]

        def told(at: int, found: Mapping[str, Any]) -> None:
            done[0] += 1
            self._note(orders[at]["label"], found, done[0], len(cells))

        for cell, found in zip(cells, self.fanout.run(orders, told), strict=True):
            self.grid.outcomes[cell.index] = _outcome(found, self.grid.outcomes.get(cell.index), share)

    def _note(self, label: str, found: Mapping[str, Any], done: int, of: int) -> None:
        self.built.update(entry["stage"] for entry in found.get("stages", []) if entry["state"] == "built")
        warn_of(label, found)
        if listener := _listener.get():
            listener(Told(label, _outcome(found, None, 1.0), done, of))

    def _settle(self) -> Goal:
        """The goal, from the metrics that the finished cells reported."""
        metrics = [outcome.metrics for outcome in self.grid.outcomes.values()]
        self.grid.goal = goal_of(self.resolved, self.grid.base.sweep, metrics)
        return self.grid.goal


def _described(loaded: Loaded) -> dict[str, Any]:
    """A config as JSON, with the folder in which its relative paths start and the machine that has this folder."""
    return {"config": given(loaded.config), "origin": dict(loaded.origin), "folder": str(Path.cwd()),
            "host": socket.gethostname()}  # fmt: skip


def _outcome(found: Mapping[str, Any], before: Outcome | None, share: float) -> Outcome:
    """A cell's outcome at a rung, merged with its outcome at earlier rungs."""
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
