"""Splits a split's rows into shards that are tokenized separately."""

import hashlib
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.tables.arrow_file import write

SHARD = 32_768


def shards(table: pa.Table, size: int = SHARD) -> Iterator[tuple[int, pa.Table]]:
    """Yield shards of at most `size` rows, each with the position of its first row.

    If rows are in the order of their files, no shard spans two files, so that a file that is added or changed does not
    change other files' shards. Shuffled rows are divided by number only.
    """
    edges = [0, table.num_rows]
    if "__file" in table.column_names and table.num_rows:
        codes = table["__file"].combine_chunks().dictionary_encode().indices.to_numpy()
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        if len(changes) + 1 == len(np.unique(codes)):
            edges = [0, *changes.tolist(), table.num_rows]
    for start, end in pairwise(edges):
        for at in range(start, end, size):
            yield at, table.slice(at, min(size, end - at))


def digest(table: pa.Table) -> str:
    """Return the sha256 of a table's canonical bytes, as `arrow_file.write` writes them."""
    with tempfile.TemporaryDirectory(prefix="finetune-shard-") as folder:
        path = Path(folder) / "shard.arrow"
        write(table, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
