"""A split's rows in stretches that are tokenized one by one."""

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
    """Stretches of at most `size` rows, each with the position of its first.

    Where rows stand in the order of their files, no stretch crosses from one file into the next: a file that is added
    or changed moves no other file's stretches. Shuffled rows are cut by number alone.
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
    """sha256 of a table's canonical bytes: what `arrow_file.write` writes."""
    with tempfile.TemporaryDirectory(prefix="finetune-shard-") as folder:
        path = Path(folder) / "shard.arrow"
        write(table, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
