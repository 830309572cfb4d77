"""The token rows of a split: one Arrow file, or shards that read as one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.tables.arrow_file import open_table

ORIGIN = "__origin"


def open_tokens(paths: Sequence[Path], starts: Sequence[int]) -> pa.Table:
    """The shards of a split as one table, memory-mapped.

    Args:
        starts: for each shard the number of data rows before it: a shard counts its own, so that it stays the same
            when rows are added before it.
    """
    return pa.concat_tables([_moved(open_table(path), start) for path, start in zip(paths, starts, strict=True)])


def token_lengths(table: pa.Table) -> np.ndarray:
    """Tokens of each row (int64): of `input_ids`, and of every further column of ids (`chosen_input_ids`, say)."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for name in table.column_names:
        if name == "input_ids" or name.endswith("_input_ids"):
            total += np.concatenate([chunk.value_lengths().to_numpy() for chunk in table[name].chunks] or [total])
    return total


def _moved(table: pa.Table, start: int) -> pa.Table:
    if not start:
        return table
    chunks = [pa.array(chunk.to_numpy() + np.int64(start)) for chunk in table[ORIGIN].chunks]
    return table.set_column(table.column_names.index(ORIGIN), ORIGIN, pa.chunked_array(chunks, pa.int64()))
