"""The token rows of a split, read from one or more shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.tables.arrow_file import open_table

ORIGIN = "__origin"


def open_tokens(paths: Sequence[Path], starts: Sequence[int]) -> pa.Table:
    """Return the shards of a split as one memory-mapped table.

    Args:
        starts: for each shard the number of data rows before it; within a shard, origins start at 0, so that it stays
            the same when rows are added before it.
    """
    return pa.concat_tables(
        [_with_origins_from(open_table(path), start) for path, start in zip(paths, starts, strict=True)]
    )


def token_lengths(table: pa.Table) -> np.ndarray:
    """Return the number of tokens of each row (int64), in `input_ids` and other id columns (`chosen_input_ids`)."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for name in table.column_names:
        if name == "input_ids" or name.endswith("_input_ids"):
            total += np.concatenate([chunk.value_lengths().to_numpy() for chunk in table[name].chunks] or [total])
    return total


def _with_origins_from(table: pa.Table, start: int) -> pa.Table:
    if not start:
        return table
    chunks = [pa.array(chunk.to_numpy() + np.int64(start)) for chunk in table[ORIGIN].chunks]
    return table.set_column(table.column_names.index(ORIGIN), ORIGIN, pa.chunked_array(chunks, pa.int64()))
