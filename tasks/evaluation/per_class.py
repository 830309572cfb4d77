"""Scores by class: precision, recall and f1, and the confusion matrix."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from tasks.config.json_types import JsonObject
from tasks.evaluation.score import Scorer, Sums, ratio, total

MATRIX = 50  # classes; for more only the most frequent confusions are kept
CONFUSED = 10
READABLE = 10  # classes; a wider matrix is unreadable as text
HEAD = ("class", "rows", "precision", "recall", "f1")
THRESHOLD = "threshold"


@runtime_checkable
class CountsClasses(Protocol):
    """A scorer whose sums include counts by class."""

    def counts(self, sums: Sums) -> tuple[Sequence[str], Sums, Sums, Sums]:
        """Return class names and, of shape (samples, classes), true positives, predicted and actual counts."""
        ...


def by_class(scorer: Scorer, table: pa.Table) -> JsonObject:
    """Return `{"scores": {class: {rows, precision, recall, f1}}}` of predictions, with `threshold` if each class
    has its own; for single-label rows also `confused`: the most frequent [class, predicted, rows], and for up to 50
    classes `confusion`: the matrix of rows by class (rows) and prediction (columns). Empty if there are no classes.
    """
    sums = total(scorer, table)
    if sums is None or not isinstance(scorer, CountsClasses):
        return {}
    names, right, seen, gold = scorer.counts(sums[None, :])
    columns = gold[0], ratio(right[0], seen[0]), ratio(right[0], gold[0]), ratio(2 * right[0], seen[0] + gold[0])
    scores = {
        name: {"rows": int(each[0]), **dict(zip(HEAD[2:], map(float, each[1:]), strict=True))}
        for name, each in zip(names, zip(*columns, strict=True), strict=True)
    }
    for name, threshold in zip(names, getattr(scorer, "thresholds", ()), strict=False):
        scores[name][THRESHOLD] = threshold
    if not pa.types.is_string(table["label"].type):
        return {"scores": scores}
    return {"scores": scores, **_confusion(list(names), table)}


def _confusion(names: list[str], table: pa.Table) -> JsonObject:
    import pyarrow.compute as pc

    gold, seen = (
        pc.index_in(table[column], value_set=pa.array(names)).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
        for column in ("label", "prediction")
    )
    pairs, counts = np.unique(gold.astype(np.int64) * len(names) + seen, return_counts=True)
    wrong = [(int(count), int(pair)) for pair, count in zip(pairs, counts, strict=True) if pair % (len(names) + 1)]
    confused = [[names[pair // len(names)], names[pair % len(names)], count]
                for count, pair in sorted(wrong, key=lambda each: (-each[0], each[1]))[:CONFUSED]]  # fmt: skip
    if len(names) > MATRIX:
        return {"confused": confused}
    matrix = np.zeros(len(names) ** 2, dtype=np.int64)
    matrix[pairs] = counts
    return {"confused": confused, "confusion": matrix.reshape(len(names), -1).tolist()}


def score_cells(found: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table, the header first."""
    head = HEAD if all(THRESHOLD not in each for each in found["scores"].values()) else (*HEAD, THRESHOLD)
    yield head
    for name, each in found["scores"].items():
        yield (name, f"{each['rows']:,}", *(f"{each[metric]:.4f}" for metric in head[2:]))


def matrix_cells(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the confusion matrix as a header and rows; empty if there is none, or it is too wide for text."""
    names, matrix = list(found["scores"]), found.get("confusion") or []
    if not matrix or len(names) > READABLE:
        return []
    lines = [
        (name, *(f"{count:,}" if count else "·" for count in row)) for name, row in zip(names, matrix, strict=True)
    ]
    return [("class", *(f"as {name}" for name in names)), *lines]


def confused_line(found: Mapping[str, Any]) -> str:
    """Return `most often confused: sad as angry (12), …`; empty if there are none, or the matrix is shown."""
    pairs = [] if matrix_cells(found) else found.get("confused") or []
    pairs_text = ", ".join(f"{gold} as {seen} ({count:,})" for gold, seen, count in pairs)
    return f"most often confused: {pairs_text}" if pairs_text else ""
