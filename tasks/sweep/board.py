"""The leaderboard: cells' outcomes as ranked rows, with mean and standard deviation over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tasks.sweep.cells import Cell


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell.

    Attributes:
        state: `completed`, `paused` (stopped early by halving), `failed`, `killed` or `interrupted`.
        metrics: of the validation rows, `eval_…`, with its final (or paused) weights.
        rungs: share of the training -> the metrics it was compared by there.
        steps: optimizer steps done and in total. built: stages that were built for it, not cached.
        run: the run's name in the store; None unless it completed. error: why it did not complete; kind: its type.
        curve: what the Trainer logged.
    """

    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    rungs: Mapping[float, Mapping[str, float]] = field(default_factory=dict)
    steps: tuple[int, int] = (0, 0)
    built: tuple[str, ...] = ()
    run: str | None = None
    error: str | None = None
    kind: str | None = None
    seconds: float = 0.0
    curve: Sequence[Mapping[str, Any]] = ()

    @property
    def failed(self) -> bool:
        """Whether it is neither completed nor stopped early by halving."""
        return self.state not in ("completed", "paused")


@dataclass(frozen=True)
class Row:
    """A ranked group of cells that differ only in their seed.

    Attributes:
        rank: from 1; None if no cell completed. state: of the worst of its cells.
        value, spread: mean and sample standard deviation of the metric over the seeds (None with one seed).
        metrics: means of all metrics. share: completed share of the training.
    """

    rank: int | None
    group: int
    overrides: Mapping[str, Any]
    state: str
    value: float | None
    spread: float | None
    metrics: Mapping[str, float]
    seeds: int
    share: float
    error: str | None


WORST = ("failed", "killed", "interrupted", "paused", "completed")


def leaderboard(
    cells: Sequence[Cell], outcomes: Mapping[int, Outcome], metric: str, greater_is_better: bool
) -> list[Row]:
    """Return rows by rank: completed groups by the metric, then those stopped early (by progress, then the metric),
    then failures."""
    rows = [_row(group, outcomes, metric) for group in by_group(cells).values()]

    def order(row: Row) -> tuple[object, ...]:
        up = -1 if greater_is_better else 1
        value = float("inf") if row.value is None else up * row.value
        return -WORST.index(row.state) if row.state in ("completed", "paused") else 0, -row.share, value, row.group

    ranked = sorted(rows, key=order)
    counted = [row for row in ranked if row.state == "completed" and row.value is not None]
    rank = {row.group: at for at, row in enumerate(counted, 1)}
    return [Row(**{**row.__dict__, "rank": rank.get(row.group)}) for row in ranked]


def by_group(cells: Iterable[Cell]) -> dict[int, list[Cell]]:
    """Group cells by settings: those of a group differ only in the seed."""
    groups: dict[int, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    return groups


def mean_of(
    group: Sequence[Cell], outcomes: Mapping[int, Outcome], metric: str, share: float | None = None
) -> float | None:
    """Return the mean of a metric over a group's cells (at a rung, if `share` is given); None if a cell lacks it."""
    found = []
    for cell in group:
        outcome = outcomes.get(cell.index)
        if outcome is None or outcome.failed:
            return None
        value = (outcome.metrics if share is None else outcome.rungs.get(share, {})).get(metric)
        if value is None or value != value:
            return None
        found.append(value)
    return statistics.fmean(found)


def _row(group: Sequence[Cell], outcomes: Mapping[int, Outcome], metric: str) -> Row:
    done = [outcomes.get(cell.index, Outcome("interrupted")) for cell in group]
    state = min((each.state for each in done), key=WORST.index)
    good = [each for each in done if not each.failed]
    values = [value for each in good if (value := each.metrics.get(metric)) is not None]
    if len(values) < len(good):  # means over different numbers of seeds are not comparable
        values = []
    names = dict.fromkeys(name for each in done for name in each.metrics)
    means = {name: statistics.fmean(found) for name in names if (found := _all(done, name))}
    overrides = {name: value for name, value in group[0].overrides.items() if name != "seed" or len(group) == 1}
    return Row(
        None, group[0].group, overrides, state, statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None, means, len(group),
        min(each.steps[0] / max(each.steps[1], 1) for each in done),
        next((each.error for each in done if each.error), None),
    )  # fmt: skip


def _all(done: Sequence[Outcome], name: str) -> list[float]:
    return [value for each in done if (value := each.metrics.get(name)) is not None]


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Return the leaderboard as a table: rank, state, one column per axis, the metric with its spread, all metrics."""
    axes = dict.fromkeys(name for row in rows for name in row.overrides)
    metrics = dict.fromkeys(name for row in rows for name in row.metrics)
    columns: dict[str, list[Any]] = {
        "rank": [row.rank for row in rows],
        "state": [row.state for row in rows],
        **{name: _of_one_type([row.overrides.get(name) for row in rows]) for name in axes},
        "value": [row.value for row in rows],
        "spread": [row.spread for row in rows],
        "seeds": [row.seeds for row in rows],
        "share_trained": [row.share for row in rows],
        **{name: [row.metrics.get(name) for row in rows] for name in metrics},
        "error": [row.error for row in rows],
    }
    numbers = {name: pa.float64() for name in ("value", "spread", "share_trained", *metrics)}
    numbers |= {"rank": pa.int64(), "error": pa.string()}
    return pa.table({name: pa.array(values, numbers.get(name)) for name, values in columns.items()})


def _of_one_type(values: list[Any]) -> list[object]:
    """Convert values to one type, as a column needs: numbers stay numbers, a mixture becomes strings."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return [value if value is None or kinds == {int} else float(value) for value in values]
    return values if len(kinds) == 1 and kinds <= {str, bool} else [None if v is None else str(v) for v in values]
