"""Predict rows batch by batch, keeping only the predictions.

Memory does not grow with the rows: predictions are written to a file in batch order, and read back in row order.
Training and evaluation use the same code.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from tasks.data.tokens.token_table import ORIGIN

if TYPE_CHECKING:
    import torch

INDEX = "__index"
LINEAGE = ("__file", "__row")
GROUP = 4096

Model: TypeAlias = "torch.nn.Module"


class BatchPredictions(NamedTuple):
    """The predictions of a batch: `columns` with one entry per row; `loss` is a mean over `weight` rows or tokens."""

    columns: Mapping[str, Any]
    loss: float
    weight: float


class Predictor(Protocol):
    """How a task makes predictions.

    Attributes:
        found: the columns of `batch`'s result.
        windows: whether a data row may have several token rows (`rows` then always gets all of them).
    """

    found: pa.Schema
    windows: bool

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        """Run the model on a batch."""
        ...

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        """Convert results of `batch` and their token rows (in the same order) to predictions, one per data row, with
        `__origin` and the labels if known."""
        ...


def predict_batches(
    model: Model,
    batches: Iterable[tuple[np.ndarray, Mapping[str, Any]]],
    predictor: Predictor,
    tokens: pa.Table,
    out: Path,
) -> float:
    """Predict all `batches` (positions of their rows in `tokens`, and the batch) and write the predictions to `out`.

    Returns:
        The mean loss.
    """
    total = weight = 0.0
    order: list[np.ndarray] = []
    scratch = out.with_name(f".{out.name}.found")
    schema = predictor.found
    with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for indices, batch in batches:
            labelled = predictor.batch(model, batch)
            arrays = [pa.array(labelled.columns[field.name], field.type) for field in schema]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            order.append(np.asarray(indices))
            if labelled.weight:  # the mean over nothing is NaN
                total += labelled.loss * labelled.weight
                weight += labelled.weight
    try:
        _in_order(scratch, np.concatenate(order), predictor, tokens, out)
    finally:
        scratch.unlink()
    return total / weight if weight else float("nan")


def _in_order(scratch: Path, order: np.ndarray, predictor: Predictor, tokens: pa.Table, out: Path) -> None:
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    origins = tokens[ORIGIN].combine_chunks().to_numpy()
    with pa.memory_map(str(scratch)) as source:
        found = pa.ipc.open_file(source).read_all()
        writer = None
        with pa.OSFile(str(out), "wb") as sink:
            for start, end in _groups(origins, predictor.windows):
                table = predictor.rows(found.take(pa.array(places[start:end])), tokens.slice(start, end - start))
                writer = writer or pa.ipc.new_file(sink, table.schema)
                writer.write_table(table.combine_chunks())
            if writer is not None:
                writer.close()


def _groups(origins: np.ndarray, whole: bool) -> Iterator[tuple[int, int]]:
    """Yield ranges of some thousand rows; `whole`: never splitting a data row's windows."""
    start = 0
    while start < len(origins):
        end = min(start + GROUP, len(origins))
        while whole and end < len(origins) and origins[end] == origins[end - 1]:
            end += 1
        yield start, end
        start = end


def firsts(tokens: pa.Table) -> np.ndarray:
    """Return the index of each data row's first token row."""
    origins = tokens[ORIGIN].combine_chunks().to_numpy()
    return np.flatnonzero(np.concatenate([[True], origins[1:] != origins[:-1]])) if len(origins) else np.zeros(0, int)


def lineage(tokens: pa.Table, starts: np.ndarray | None = None) -> dict[str, "pa.Array"]:
    """Return the columns that identify the data row of a prediction."""
    chosen = tokens.select([ORIGIN, *LINEAGE])
    chosen = chosen if starts is None else chosen.take(pa.array(starts))
    return {name: _plain(chosen[name]) for name in chosen.column_names}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # a slice keeps its own dictionary, but an Arrow file allows only one
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
