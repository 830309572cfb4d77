"""What a model says of rows, row by row: batches are judged as they come and nothing but the verdicts is kept.

Memory does not grow with the rows: verdicts go to a file in the order they come, and are read back in the order of
the rows. Training and evaluation judge by the same code.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tasks.data.tokens.token_table import ORIGIN

INDEX = "__index"
LINEAGE = ("__file", "__row")
GROUP = 4096


class BatchPredictions(NamedTuple):
    """A batch's verdicts: `columns` with one entry a row; `loss` is a mean over `weight` things (rows or tokens)."""

    columns: Mapping[str, Any]
    loss: float
    weight: float


class Predictor(Protocol):
    """A task's way to judge.

    Attributes:
        found: the columns `batch` gives.
        windows: whether several token rows may be one data row (then `rows` is always given all of them).
    """

    found: pa.Schema
    windows: bool

    def batch(self, model: Any, batch: Mapping[str, Any]) -> BatchPredictions:
        """Ask the model."""
        ...

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        """From verdicts and token rows (side by side, in order) to predictions, one row a data row, with `__origin`
        and what was right where it is known."""
        ...


def predict_batches(
    model: Any,
    batches: Iterable[tuple[np.ndarray, Mapping[str, Any]]],
    predictor: Predictor,
    tokens: pa.Table,
    out: Path,
) -> float:
    """Judge all `batches` (positions of their rows in `tokens`, and the batch) and write the predictions to `out`.

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
            if labelled.weight:  # the mean over nothing is no number
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
    """Stretches of some thousand rows; `whole`: none ends within a data row's windows."""
    start = 0
    while start < len(origins):
        end = min(start + GROUP, len(origins))
        while whole and end < len(origins) and origins[end] == origins[end - 1]:
            end += 1
        yield start, end
        start = end


def firsts(tokens: pa.Table) -> np.ndarray:
    """Where each data row's token rows begin."""
    origins = tokens[ORIGIN].combine_chunks().to_numpy()
    return np.flatnonzero(np.concatenate([[True], origins[1:] != origins[:-1]])) if len(origins) else np.zeros(0, int)


def lineage(tokens: pa.Table, starts: np.ndarray | None = None) -> dict[str, Any]:
    """The columns that say which data row a prediction is of."""
    chosen = tokens.select([ORIGIN, *LINEAGE])
    chosen = chosen if starts is None else chosen.take(pa.array(starts))
    return {name: _plain(chosen[name]) for name in chosen.column_names}


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    # a slice of dictionary codes keeps a dictionary of its own, which a file of one dictionary does not take
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
