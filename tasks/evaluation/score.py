"""Compute metrics from predictions, with confidence intervals, and by slice.

A scorer turns each row into a few sums, and sums into metrics. Therefore memory does not grow with the rows, a slice is
the sum of its rows, and a bootstrap sample is a weighted sum: one matrix product for a thousand of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from scipy import sparse

BATCH = 4096
SAMPLES = 1000
UNTUNED = "_untuned"  # ends the name of a metric at a threshold of 0.5, where thresholds are tuned
DRAWS = 5e7  # a thousand samples of fifty thousand rows; with more rows there are fewer samples, at least 200
Sums = np.ndarray
RowSums: TypeAlias = "np.ndarray | sparse.csr_matrix"


class Scorer(Protocol):
    """A task's metrics."""

    def rows(self, batch: pa.Table) -> RowSums:
        """Return each row's contribution: shape (rows, sums), float64, dense or sparse."""
        ...

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        """Return metrics from sums of shape (samples, sums); each of shape (samples,), NaN where undefined."""
        ...

    def ranks(self, table: pa.Table) -> dict[str, float]:
        """Return metrics that are not a function of sums (ranks)."""
        ...


def point(scorer: Scorer, table: pa.Table) -> dict[str, float]:
    """Return the metrics of all rows, without undefined ones."""
    sums = total(scorer, table)
    if sums is None:
        return {}
    return _finite({name: float(value[0]) for name, value in scorer.measures(sums[None, :]).items()}
                   | scorer.ranks(table))  # fmt: skip


def total(scorer: Scorer, table: pa.Table) -> Sums | None:
    """Return the sums over all rows; None if there are no rows."""
    sums: Sums | None = None
    for _, batch in _batches(table):
        found = np.asarray(scorer.rows(batch).sum(axis=0)).reshape(-1)
        sums = found if sums is None else sums + found
    return sums


def intervals(scorer: Scorer, table: pa.Table, samples: int = SAMPLES, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return 95 % bootstrap intervals (percentiles; each row has a Poisson(1) weight in a sample, as in Chamandy et al.
    2012 for streaming data). Rank metrics have none.

    Args:
        seed: of the weights; the same rows give the same interval.
    """
    if table.num_rows < 2:
        return {}
    samples = int(np.clip(DRAWS / table.num_rows, min(200, samples), samples))
    random = np.random.Generator(np.random.PCG64(seed))
    total: Sums | None = None
    for _, batch in _batches(table):
        weights = random.poisson(1.0, (batch.num_rows, samples)).astype(np.float64)
        rows = scorer.rows(batch)
        found = np.asarray((rows.T @ weights).T)
        total = found if total is None else total + found
    assert total is not None
    bounds = {}
    with np.errstate(all="ignore"):
        for name, values in scorer.measures(total).items():
            known = values[np.isfinite(values)]
            if len(known) >= samples // 2:
                low, high = np.percentile(known, [2.5, 97.5])
                bounds[name] = (float(low), float(high))
    return bounds


def is_tie(scorer: Scorer, one: pa.Table, other: pa.Table, metric: str, seed: int = 0) -> bool:
    """Whether two models' predictions of the same rows do not differ significantly by a metric: the 95 % interval of
    the difference, from the same bootstrap samples for both, contains 0.

    Raises:
        ValueError: the tables have different rows, or the metric is not a function of sums.
    """
    if one.num_rows != other.num_rows or one["__origin"].to_pylist() != other["__origin"].to_pylist():
        raise ValueError("a comparison needs predictions of the same rows")
    random = np.random.Generator(np.random.PCG64(seed))
    sums: list[Any] = [0.0, 0.0]
    for at, batch in _batches(one):
        weights = random.poisson(1.0, (batch.num_rows, SAMPLES)).astype(np.float64)
        for side, rows in enumerate((batch, other.slice(at, batch.num_rows))):
            sums[side] = sums[side] + np.asarray((scorer.rows(rows).T @ weights).T)
    found = [scorer.measures(each) for each in sums]
    if metric not in found[0]:
        raise ValueError(f"{metric} has no interval; those that have: {', '.join(found[0])}")
    low, high = np.nanpercentile(found[0][metric] - found[1][metric], [2.5, 97.5])
    return bool(low <= 0 <= high)


def slices(scorer: Scorer, table: pa.Table, values: pa.ChunkedArray, most: int = 20) -> dict[str, dict[str, float]]:
    """Return the metrics of the rows with each value.

    Args:
        values: one per row; many different numbers are binned at their quartiles; of other values the `most` frequent
            are kept and the rest is `other`.

    Returns:
        `{value: {"rows": n, metric: value}}`.
    """
    names, codes = _coded(values, most)
    found: dict[str, dict[str, float]] = {}
    totals: list[Sums | None] = [None] * len(names)
    for at, batch in _batches(table):
        rows, some = scorer.rows(batch), codes[at : at + batch.num_rows]
        for code in np.unique(some):
            sums = np.asarray(rows[some == code].sum(axis=0)).reshape(-1)
            totals[code] = sums if totals[code] is None else totals[code] + sums
    for code, name in enumerate(names):
        total = totals[code]
        if total is not None:
            measures = {key: float(value[0]) for key, value in scorer.measures(total[None, :]).items()}
            found[name] = {"rows": float((codes == code).sum()), **_finite(measures)}
    return found


def _coded(values: pa.ChunkedArray, most: int) -> tuple[list[str], np.ndarray]:
    kind = values.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    numbers = values.to_numpy().astype(np.float64) if number else np.zeros(0)
    if number and len(np.unique(numbers)) > most:
        edges = np.nanquantile(numbers, [0.25, 0.5, 0.75])
        low, middle, high = (f"{edge:g}" for edge in edges)
        names = [f"< {low}", f"{low} to {middle}", f"{middle} to {high}", f">= {high}", "null"]
        return names, np.where(np.isnan(numbers), 4, np.searchsorted(edges, numbers, side="right"))
    texts = np.asarray(["null" if value is None else str(value) for value in values.to_pylist()], dtype=object)
    found, codes, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    if len(found) <= most:
        return [str(name) for name in found], codes
    kept = np.argsort(-counts, kind="stable")[: most - 1]
    place = np.full(len(found), len(kept))
    place[kept] = np.arange(len(kept))
    return [*(str(found[at]) for at in kept), "other"], place[codes]


def _batches(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    for start in range(0, table.num_rows, BATCH):
        yield start, table.slice(start, BATCH)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if np.isfinite(value)}


def ratio(over: object, under: object) -> np.ndarray:
    """Return `over / under`, 0 where `under` is 0 (as scikit-learn's `zero_division=0`)."""
    over, under = np.broadcast_arrays(np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64))
    return np.divide(over, under, out=np.zeros(over.shape), where=under != 0)


def first_of(names: Sequence[str], table: pa.Table) -> list[str]:
    """Return the `names` that the table has, in order."""
    return [name for name in names if name in table.column_names]
