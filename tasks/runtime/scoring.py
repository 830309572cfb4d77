"""A predictions table to everything that is said of it; nothing here can lose a trained model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.runtime.attempt import attempt


@dataclass
class Scores:
    """What is said of predictions.

    Attributes:
        metrics: `{name: value}`. intervals: `{name: (low, high)}`, 95 %. slices: `{column: {value: {name: value}}}`.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    slices: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def score_table(
    scorer: Any,
    table: Any,
    loss: float,
    wanted: Sequence[str] | None,
    bootstrap: int,
    columns: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Scores:
    """Score a predictions table.

    Args:
        scorer: a `tasks.evaluation.score.Scorer`. loss: the mean loss, a metric like others.
        wanted: names to keep, and paths of a user's own functions; None for all of the task's.
        bootstrap: samples for the intervals; 0 for none.
        columns: `{name: one value a row}` to slice by.
    """
    from tasks.evaluation.custom import call, is_own
    from tasks.evaluation.score import intervals, point, slices

    own = [name for name in wanted or [] if is_own(name)]
    kept = [name for name in wanted or [] if not is_own(name)] or None
    found = Scores({"loss": loss} if loss == loss else {})
    found.metrics |= attempt("scoring", lambda: point(scorer, table), {}, warn)
    if bootstrap:
        found.intervals = attempt("the bootstrap", lambda: intervals(scorer, table, bootstrap), {}, warn)
    for name, values in columns.items():
        by_value = attempt(f"slicing by {name}", lambda values=values: slices(scorer, table, values), {}, warn)
        found.slices[name] = {value: _kept(metrics, kept, "rows") for value, metrics in by_value.items()}
    found.metrics, found.intervals = _kept(found.metrics, kept), _kept(found.intervals, kept)
    for path in own:
        found.metrics |= attempt(f"eval.metrics: {path}", lambda path=path: call(path, table), {}, warn)
    return found


def _kept(values: Mapping[str, Any], names: Sequence[str] | None, *always: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if names is None or name in names or name in always}
