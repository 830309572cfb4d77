"""A predictions table to everything that is said of it; nothing here can lose a trained model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from tasks.config import ConfigError
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


def while_training(
    scorer: Any, plan: Mapping[str, Any], warn: Callable[[str], None]
) -> Callable[[Any], Mapping[str, float]]:
    """Scores of a predictions table that cannot end a training: those of the task, and the user's own by which the
    best is kept; where that fails, the checkpoint counts as the worst there is."""
    from tasks.evaluation.custom import BROUGHT, call
    from tasks.evaluation.score import point

    arguments = plan["arguments"]
    own: Mapping[str, str] = plan.get("own_best") or {}
    own = {} if own.get("path", "").startswith(BROUGHT) else own  # see `of_all_logits`

    def score(table: Any) -> Mapping[str, float]:
        found = attempt("scoring", lambda: point(scorer, table), {}, warn)
        if own:
            worst = {arguments["metric_for_best_model"]: -inf if arguments["greater_is_better"] else inf}
            found = {**found, **attempt(f"eval.best: {own['path']}", lambda: call(own["path"], table), worst, warn)}
        return found

    return score


def of_all_logits(plan: Mapping[str, Any], warn: Callable[[str], None]) -> Callable[[Any], Mapping[str, float]] | None:
    """What the function says that the caller brought to choose the best checkpoint by, if one was; where it fails, or
    does not give the number that is asked for, the checkpoint counts as the worst there is."""
    from tasks.evaluation.custom import BROUGHT, find

    path = (plan.get("own_best") or {}).get("path", "")
    if not path.startswith(BROUGHT):
        return None
    name, metrics = path.removeprefix(BROUGHT), find(path)
    worst = -inf if plan["arguments"]["greater_is_better"] else inf

    def number(predictions: Any) -> dict[str, float]:
        given = {key.removeprefix("eval_"): float(value) for key, value in metrics(predictions).items()}
        if name not in given:
            raise ValueError(f"it gives no {name!r}, only {', '.join(given)}")
        return given

    return lambda predictions: attempt("metrics", lambda: number(predictions), {name: worst}, warn)


def _kept(values: Mapping[str, Any], names: Sequence[str] | None, *always: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if names is None or name in names or name in always}


def columns_of(names: Sequence[str], rows: Path, predictions: Any) -> dict[str, Any]:
    """The columns to slice by, one value a prediction.

    Raises:
        ConfigError: there is no such column.
    """
    from tasks.data.arrow_file import open_table

    table = open_table(rows)
    unknown = next((name for name in names if name not in table.column_names), None)
    if unknown is not None:
        known = ", ".join(name for name in table.column_names if not name.startswith("__"))
        raise ConfigError(f"eval.slices: there is no column {unknown!r}; there are {known}")
    return {name: table[name].take(predictions["__origin"].combine_chunks()) for name in names}
