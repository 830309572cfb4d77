"""Metrics of classification and regression, from sums over rows; equal to scikit-learn's (roc_auc to five digits)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from tasks.evaluation.score import UNTUNED, Scorer, Sums, ratio
from tasks.evaluation.threshold import HALF, at_threshold

BINS = 65_536
FEW = 20  # classes; for more an eighth of the bins is enough


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of a head: single-label, multi-label, or regression."""
    if head["problem_type"] == "regression":
        return Numbers()
    if head["problem_type"] != "multi_label_classification":
        return OneClass(head["labels"])
    return Tuned(head["labels"], head["threshold"]) if head.get("tuned") else Several(head["labels"])


class OneClass:
    """accuracy, matthews, and f1, precision, recall (macro over the classes that occur, f1 also weighted by their
    rows), roc_auc (one against the rest, mean over classes; for two classes: of the second)."""

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels

    def rows(self, batch: pa.Table) -> Any:
        gold, seen = _ids(batch["label"], self.labels), _ids(batch["prediction"], self.labels)
        return sparse.hstack([_one_hot(gold == seen, gold, self.labels), _one_hot(None, seen, self.labels),
                              _one_hot(None, gold, self.labels)]).tocsr()  # fmt: skip

    def counts(self, sums: Sums) -> tuple[list[str], Sums, Sums, Sums]:
        right, seen, gold = np.split(sums, 3, axis=1)
        return self.labels, right, seen, gold

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        _, right, seen, gold = self.counts(sums)
        total, correct = gold.sum(1), right.sum(1)
        occurs = (seen + gold) > 0
        classes = np.maximum(occurs.sum(1), 1)
        precision, recall = ratio(right, seen), ratio(right, gold)
        f1 = ratio(2 * right, seen + gold)
        covariance = correct * total - (seen * gold).sum(1)
        spread = (total**2 - (seen**2).sum(1)) * (total**2 - (gold**2).sum(1))
        return {
            "accuracy": ratio(correct, total),
            "f1_macro": f1.sum(1) / classes,
            "f1_weighted": ratio((f1 * gold).sum(1), total),
            "precision_macro": precision.sum(1) / classes,
            "recall_macro": recall.sum(1) / classes,
            "matthews": ratio(covariance, np.sqrt(np.maximum(spread, 0))),
        }

    def ranks(self, table: pa.Table) -> dict[str, float]:
        if table.num_rows == 0 or "probabilities" not in table.column_names:
            return {}
        chosen = [1] if len(self.labels) == 2 else range(len(self.labels))
        return _auc(table, list(chosen), lambda batch: _one_hot(None, _ids(batch["label"], self.labels), self.labels))


class Several:
    """f1 (micro, macro, weighted, and the mean over rows), precision, recall (micro), accuracy (rows correct in every
    class), roc_auc (mean over classes)."""

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels

    def rows(self, batch: pa.Table) -> Sums:
        gold, seen = _flags(batch["label"], self.labels), _flags(batch["prediction"], self.labels)
        right = gold & seen
        samples = ratio(2 * right.sum(1), gold.sum(1) + seen.sum(1))
        parts = [right, seen, gold, samples[:, None], (gold == seen).all(1)[:, None], np.ones((len(gold), 1))]
        return np.hstack([part.astype(np.float64) for part in parts])

    def counts(self, sums: Sums) -> tuple[list[str], Sums, Sums, Sums]:
        right, seen, gold = np.split(sums[:, :-3], 3, axis=1)
        return self.labels, right, seen, gold

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        _, right, seen, gold = self.counts(sums)
        samples, exact, total = sums[:, -3], sums[:, -2], sums[:, -1]
        f1 = ratio(2 * right, seen + gold)
        return {
            "f1_micro": ratio(2 * right.sum(1), seen.sum(1) + gold.sum(1)),
            "f1_macro": f1.mean(1),
            "f1_weighted": ratio((f1 * gold).sum(1), gold.sum(1)),
            "f1_samples": ratio(samples, total),
            "precision_micro": ratio(right.sum(1), seen.sum(1)),
            "recall_micro": ratio(right.sum(1), gold.sum(1)),
            "accuracy": ratio(exact, total),
        }

    def ranks(self, table: pa.Table) -> dict[str, float]:
        if table.num_rows == 0:
            return {}
        return _auc(table, list(range(len(self.labels))), lambda batch: _flags(batch["label"], self.labels))


class Tuned:
    """`Several`, and each f1 at a threshold of 0.5 as `f1_…_untuned`.

    Attributes:
        thresholds: one for each class; empty if all have the same.
    """

    def __init__(self, labels: list[str], threshold: float | list[float]) -> None:
        self.several, self.names = Several(labels), pa.array(labels, pa.string())
        self.thresholds = threshold if isinstance(threshold, list) else []

    def rows(self, batch: pa.Table) -> Sums:
        before = at_threshold(batch, self.names, HALF)
        return np.hstack([self.several.rows(batch), self.several.rows(before)])

    def counts(self, sums: Sums) -> tuple[list[str], Sums, Sums, Sums]:
        return self.several.counts(np.split(sums, 2, axis=1)[0])

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        found, before = map(self.several.measures, np.split(sums, 2, axis=1))
        return found | {f"{name}{UNTUNED}": value for name, value in before.items() if name.startswith("f1_")}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return self.several.ranks(table)


class Numbers:
    """pearson, spearman, mse, rmse, mae, r2. Spearman needs the ranks of all rows, so it keeps 16 bytes per row.

    Sums are of differences to the first label, because large labels with small differences would lose precision.
    """

    def __init__(self) -> None:
        self.shift: float | None = None

    def rows(self, batch: pa.Table) -> Sums:
        gold, seen = (batch[name].to_numpy().astype(np.float64) for name in ("label", "prediction"))
        if self.shift is None:
            self.shift = float(gold[0])
        gold, seen = gold - self.shift, seen - self.shift
        off = seen - gold
        return np.stack([np.ones(len(gold)), gold, seen, gold**2, seen**2, gold * seen, abs(off), off**2], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        total, gold, seen, gold2, seen2, both, off, off2 = sums.T
        spread_gold, spread_seen = total * gold2 - gold**2, total * seen2 - seen**2
        with np.errstate(all="ignore"):
            pearson = (total * both - gold * seen) / np.sqrt(spread_gold * spread_seen)
            r2 = 1 - total * off2 / spread_gold
        mse = ratio(off2, total)
        return {"pearson": pearson, "mse": mse, "rmse": np.sqrt(mse), "mae": ratio(off, total), "r2": r2}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        from scipy.stats import spearmanr

        gold, seen = (table[name].to_numpy() for name in ("label", "prediction"))
        if len(gold) < 3 or np.ptp(gold) == 0 or np.ptp(seen) == 0:
            return {}
        return {"spearman": float(spearmanr(gold, seen)[0])}  # type: ignore[arg-type]


def _ids(column: pa.ChunkedArray, labels: list[str]) -> np.ndarray:
    place = pa.array(labels)
    return np.asarray([-1 if at is None else at for at in _index(column, place)], dtype=np.int64)


def _index(values: pa.Array, place: pa.Array) -> list[int | None]:
    import pyarrow.compute as pc

    return pc.index_in(values, value_set=place).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]


def _one_hot(kept: np.ndarray | None, ids: np.ndarray, labels: list[str]) -> sparse.csr_matrix:
    ones = np.ones(len(ids)) if kept is None else kept.astype(np.float64)
    ones[ids < 0] = 0
    return sparse.csr_matrix((ones, (np.arange(len(ids)), np.maximum(ids, 0))), shape=(len(ids), len(labels)))


def _flags(column: pa.ChunkedArray, labels: list[str]) -> np.ndarray:
    lists = column.combine_chunks()
    lengths = lists.value_lengths().to_numpy()
    flags = np.zeros((len(lists), len(labels)), dtype=bool)
    ids = [-1 if at is None else at for at in _index(lists.flatten(), pa.array(labels))]
    if -1 in ids:
        raise ValueError("a label is not among the model's classes")
    flags[np.repeat(np.arange(len(lists)), lengths), ids] = True
    return flags


def _auc(table: pa.Table, classes: list[int], truth: Any) -> dict[str, float]:
    """Return the area under the ROC curve, from counts in bins of the log-odds: memory does not grow with the rows, and
    rows in the same bin (some 6e-4 wide) count as ties."""
    bins = BINS if len(classes) <= FEW else BINS // 8
    counts = np.zeros((len(classes), 2, bins), dtype=np.int64)
    for start in range(0, table.num_rows, 4096):
        batch = table.slice(start, 4096)
        column = batch["probabilities"].combine_chunks()
        scores = column.flatten().to_numpy().reshape(len(column), -1)[:, classes].astype(np.float64)
        with np.errstate(divide="ignore"):
            odds = np.clip(np.log(scores) - np.log1p(-scores), -20, 20)
        places = ((odds + 20) * ((bins - 1) / 40)).astype(np.int64)
        gold = truth(batch)
        gold = np.asarray(gold.todense() if sparse.issparse(gold) else gold)[:, classes].astype(np.int64)
        for at in range(len(classes)):
            np.add.at(counts[at], (gold[:, at], places[:, at]), 1)
    below = np.cumsum(counts[:, 0], axis=1) - counts[:, 0]
    wins = (counts[:, 1] * (below + counts[:, 0] / 2)).sum(1)
    pairs = counts[:, 1].sum(1).astype(np.float64) * counts[:, 0].sum(1)
    return {"roc_auc": float((wins[pairs > 0] / pairs[pairs > 0]).mean())} if (pairs > 0).any() else {}
