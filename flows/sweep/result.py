"""What a sweep comes to: its cells with their outcomes, the leaderboard, the winner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tasks.config import LoadedSweep
from tasks.config.errors import ConfigError, DataError, MachineError, TrainingError
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import now
from tasks.sweep.board import Outcome, Row, as_table, leaderboard
from tasks.sweep.cells import Cell
from tasks.sweep.goal import Goal

KINDS = {kind.__name__: kind for kind in (ConfigError, DataError, TrainingError, MachineError)}
SHOWN_ERRORS = 3


@dataclass
class Grid:
    """A finished sweep. `model, tokenizer = grid(config)` unpacks to those of the best cell.

    Attributes:
        run: its name. cells, outcomes: the cells, and the outcome of each by index.
        goal: the metric that ranks. rows: the leaderboard.
        best: the winner: `overrides`, `metrics` (validation and test), `run`, `path`; None if there is none.
        rungs: of halving: `{"share", "groups", "common", "agreement"}`: how many groups have a score at this rung
            and the one before, and the rank correlation of the two (None: see `tasks.sweep.halving.agreement`).
        built: how often each stage was built (not cached), over all processes.
        best_failure: the outcome of the best cell's own run, if it did not finish.
        started, ended: when, in UTC, as ISO 8601.
        unfinished: `running`, `interrupted` or `failed`, until there is a leaderboard.
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
    best_failure: Outcome | None = None
    started: str = field(default_factory=now)
    ended: str | None = None
    unfinished: str | None = None

    @property
    def failed(self) -> list[Cell]:
        """Cells that are neither completed nor stopped early by halving."""
        return [cell for cell in self.cells if self.outcomes.get(cell.index, Outcome("interrupted")).failed]

    @property
    def state(self) -> str:
        """`completed`, `partial` (some cells failed), `failed` (all did), or what `unfinished` says."""
        if self.unfinished:
            return self.unfinished
        return "failed" if self.best is None else "partial" if self.failed else "completed"

    def raise_if_failed(self) -> None:
        """Raise an error if there is no best cell: of the cells' own type if they share one, else TrainingError."""
        if self.best is not None:
            return
        ended = [self.outcomes[cell.index] for cell in self.failed if cell.index in self.outcomes]
        if self.best_failure is not None:
            ended, message = (
                [self.best_failure],
                "the cells are done, but the run that tests and saves the best one failed",
            )
        elif len(self.failed) == len(self.cells):
            message = f"all {len(self.cells)} cells of the sweep failed"
        else:
            names = dict.fromkeys(name for outcome in self.outcomes.values() for name in outcome.metrics)
            there = ", ".join(names) or "no metrics"
            ended, message = [], f"no finished cell has a value for {self.goal.metric}; available are {there}"
        kinds = {outcome.kind for outcome in ended}
        raised = KINDS.get(kinds.pop() or "", TrainingError) if len(kinds) == 1 else TrainingError
        errors = list(dict.fromkeys(outcome.error for outcome in ended if outcome.error))[:SHOWN_ERRORS]
        raise raised("\n- ".join([f"{message}:" if errors else message, *errors]))

    def rank(self) -> None:
        """Make the leaderboard of what is known of the cells."""
        self.rows = leaderboard(self.cells, self.outcomes, self.goal.metric, self.goal.greater_is_better)

    @property
    def steps(self) -> dict[str, int]:
        """Optimizer steps: `spent` by the cells, and `full` if all had trained to the end."""
        known = [outcome.steps for outcome in self.outcomes.values() if outcome.steps[1]]
        total = max((of for _, of in known), default=0)
        return {"spent": sum(done for done, _ in known), "full": sum(of for _, of in known) or total}

    @property
    def table(self) -> Any:
        """The leaderboard as a `pyarrow.Table`."""
        return as_table(self.rows)

    @cached_property
    def winner(self) -> FineTuned:
        """The best cell, as `finetune` would return it; all its stages are cached.

        Raises:
            TrainingError: no cell was finished.
        """
        if self.best is None:
            raise TrainingError("no cell of this sweep finished, so there is no best one")
        from flows.pipeline import pipeline
        from tasks.execution.execute import CallerOptions, execute, with_caller

        loaded = self.base.cell(self.best["overrides"])
        with with_caller(CallerOptions(loaded.origin, overwrite=True)):
            done = execute(loaded.config, pipeline)
        assert isinstance(done, FineTuned)
        return done

    def __iter__(self) -> Iterator[Any]:
        return iter(self.winner)

    def __repr__(self) -> str:
        return f"Grid(run={self.run!r}, state={self.state!r}, cells={len(self.cells)}, best={self.best})"
