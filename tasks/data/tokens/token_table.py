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


def _moved(table: pa.Table, start: int) -> pa.Table:
    if not start:
        return table
    chunks = [pa.array(chunk.to_numpy() + np.int64(start)) for chunk in table[ORIGIN].chunks]
    return table.set_column(table.column_names.index(ORIGIN), ORIGIN, pa.chunked_array(chunks, pa.int64()))
