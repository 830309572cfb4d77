"""Compute all scores of a predictions table; errors here never discard a trained model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.config import ConfigError
from tasks.config.json_types import JsonObject
from tasks.evaluation.attempt import attempt

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import EvalPrediction

    from tasks.evaluation.score import Scorer


@dataclass
class Scores:
    """All scores of a predictions table.

    Attributes:
        metrics: `{name: value}`. intervals: `{name: (low, high)}`, 95 %. slices: `{column: {value: {name: value}}}`.
        classes: see `tasks.evaluation.per_class.by_class`.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    slices: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    classes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Results(Scores):
    """The scores of several splits: metrics, intervals and slices with the split's prefix, classes by split."""

    prefixes: ClassVar[Mapping[str, str]] = {"validation": "eval", "test": "test"}

    def add(self, scores: Scores, split: str) -> None:
        """Add the scores of a split; others of the same split may be there already."""
        prefix = self.prefixes[split]
        self.metrics |= {f"{prefix}_{name}": value for name, value in scores.metrics.items()}
        self.intervals |= {f"{prefix}_{name}": value for name, value in scores.intervals.items()}
        for column, values in scores.slices.items():
            found = self.slices.setdefault(f"{prefix}_{column}", {})
            for value, metrics in values.items():
                found[value] = {**metrics, **found.get(value, {})}
        self.classes |= {split: scores.classes} if scores.classes else {}


@dataclass(frozen=True)
class Scoring:
    """What is scored of each split, and where the scores go.

    Attributes:
        found: gets the scores. metrics, bootstrap: see `score_table`. slices: columns to slice by. rows: returns the
            file of a split's data rows; None if there are no slices. seen: by split, rows with a text that is in train.
        warn: called with warnings.
    """

    found: Results
    metrics: Sequence[str] | None
    bootstrap: int
    slices: Sequence[str]
    rows: Callable[[str], Path] | None
    seen: Mapping[str, Sequence[int]]
    warn: Callable[[str], None]

    def add(
        self, split: str, scorer: "Scorer", table: "pa.Table", loss: float = nan, gathered: bool = False,
        own: bool = True,
    ) -> None:  # fmt: skip
        """Score a predictions table of a split.

        Args:
            loss: see `score_table`. gathered: a row has several texts, so none is in train or not. own: whether to call
                the user's own metrics.

        Raises:
            ConfigError: no such column to slice by.
        """
        from tasks.evaluation.custom_metrics import is_own

        columns = columns_of(self.slices, self.rows(f"{split}.arrow"), table) if self.rows and self.slices else {}
        known = [] if gathered else self.seen.get(split, [])
        wanted = self.metrics if own else [name for name in self.metrics or () if not is_own(name)] or None
        scores = score_table(scorer, table, loss, wanted, self.bootstrap, columns, self.warn, known)
        self.found.add(scores, split)


def score_table(
    scorer: "Scorer",
    table: "pa.Table",
    loss: float,
    wanted: Sequence[str] | None,
    bootstrap: int,
    columns: Mapping[str, Any],
    warn: Callable[[str], None],
    seen: Sequence[int] = (),
) -> Scores:
    """Score a predictions table.

    Args:
        scorer: a `tasks.evaluation.score.Scorer`. loss: the mean loss, a metric like others.
        wanted: names to keep, and paths of the user's own functions; None for all of the task's.
        bootstrap: samples for the intervals; 0 for none.
        columns: `{name: one value per row}` to slice by.
        seen: data rows with a text that is in train; each metric is then also computed without them.
    """
    from tasks.evaluation.custom_metrics import call, is_own
    from tasks.evaluation.per_class import by_class
    from tasks.evaluation.score import intervals, point, slices

    own = [name for name in wanted or [] if is_own(name)]
    kept = [name for name in wanted or [] if not is_own(name)] or None
    found = Scores({"loss": loss} if loss == loss else {})
    found.metrics |= attempt("scoring", lambda: point(scorer, table), {}, warn)
    found.classes = attempt("scoring by class", lambda: by_class(scorer, table), {}, warn)
    if bootstrap:
        found.intervals = attempt("the bootstrap", lambda: intervals(scorer, table, bootstrap), {}, warn)
    for name, values in columns.items():
        by_value = attempt(f"slicing by {name}", lambda values=values: slices(scorer, table, values), {}, warn)
        found.slices[name] = {value: _kept(metrics, kept, "rows") for value, metrics in by_value.items()}
    found.metrics, found.intervals = _kept(found.metrics, kept), _kept(found.intervals, kept)
    for path in own:
        found.metrics |= attempt(f"eval.metrics: {path}", lambda path=path: call(path, table), {}, warn)
    if seen:
        beside = _score_unseen(table, seen, lambda some: score_table(scorer, some, nan, wanted, bootstrap, {}, warn))
        found.metrics |= beside.metrics
        found.intervals |= beside.intervals
    return found


def _score_unseen(table: "pa.Table", seen: Sequence[int], score: Callable[[Any], Scores]) -> Scores:
    """Return the scores of rows that are not in train, as `<name>_unseen`; empty if none or all are. The mean loss is
    not available per row and has none."""
    import numpy as np
    import pyarrow as pa

    others = np.flatnonzero(~np.isin(table["__origin"].to_numpy(), np.asarray(seen, dtype=np.int64)))
    if not 0 < len(others) < table.num_rows:
        return Scores()
    found = score(table.take(pa.array(others)))
    metrics = {f"{name}_unseen": value for name, value in found.metrics.items()}
    return Scores(metrics, {f"{name}_unseen": value for name, value in found.intervals.items()})


def while_training(
    scorer: "Scorer", plan: Mapping[str, Any], warn: Callable[[str], None]
) -> Callable[["pa.Table"], Mapping[str, float]]:
    """Return a function that scores predictions during training without ever ending it: the task's metrics, and the
    user's own of `eval.best`; if the metric of `eval.best` is missing, the checkpoint counts as the worst."""
    from tasks.evaluation.custom_metrics import BROUGHT, call
    from tasks.evaluation.score import point

    best = plan["arguments"].get("metric_for_best_model", "loss")
    own = (plan.get("own_best") or {}).get("path", "")
    brought = own.startswith(BROUGHT)  # see `of_all_logits`

    def score(table: "pa.Table") -> Mapping[str, float]:
        found = attempt("scoring", lambda: point(scorer, table), {}, warn)
        if own and not brought:
            found = {**found, **attempt(f"eval.best: {own}", lambda: call(own, table), {}, warn)}
        if best != "loss" and not brought and not isfinite(found.get(best, nan)):
            warn(f"eval.best: this evaluation has no {best}; the checkpoint counts as the worst")
            found = {**found, best: -inf if plan["arguments"]["greater_is_better"] else inf}
        return found

    return score


def of_all_logits(plan: Mapping[str, Any], warn: Callable[[str], None]) -> Callable[[Any], Mapping[str, float]] | None:
    """Return the caller's function to choose the best checkpoint by, if there is one; if it fails or lacks the wanted
    number, the checkpoint counts as the worst."""
    from tasks.evaluation.custom_metrics import BROUGHT, find

    path = (plan.get("own_best") or {}).get("path", "")
    if not path.startswith(BROUGHT):
        return None
    name, metrics = path.removeprefix(BROUGHT), find(path)
    worst = -inf if plan["arguments"]["greater_is_better"] else inf

    def number(predictions: "EvalPrediction") -> dict[str, float]:
        given = {key.removeprefix("eval_"): float(value) for key, value in metrics(predictions).items()}
        if name not in given:
            raise ValueError(f"it returns no {name!r}, only {', '.join(given)}")
        return given

    return lambda predictions: attempt("metrics", lambda: number(predictions), {name: worst}, warn)


def _kept(values: Mapping[str, Any], names: Sequence[str] | None, *always: str) -> JsonObject:
    from tasks.evaluation.score import UNTUNED

    kept = {*(names or values), *always}
    return {name: value for name, value in values.items() if name.removesuffix(UNTUNED) in kept or name in kept}


def columns_of(names: Sequence[str], rows: Path, predictions: "pa.Table") -> dict[str, "pa.Array"]:
    """Return the columns to slice by, one value per prediction.

    Raises:
        ConfigError: no such column.
    """
    from tasks.data.tables.arrow_file import open_table

    table = open_table(rows)
    unknown = next((name for name in names if name not in table.column_names), None)
    if unknown is not None:
        known = ", ".join(name for name in table.column_names if not name.startswith("__"))
        raise ConfigError(f"eval.slices: there is no column {unknown!r}; there are {known}")
    return {name: table[name].take(predictions["__origin"].combine_chunks()) for name in names}
