"""The token rows of a split, read from one or more shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError
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


def refuse_nothing(rows: int, split: str, length: int) -> None:
    """Raise ConfigError if no token row of a split is left; `length` is the limit in tokens."""
    if not rows:
        raise ConfigError(f"data.{split}: no row is left: none fits in data.max_length = {length} tokens (raise it, or "
                          "set data.overlong: truncate), or none has a token to learn from")  # fmt: skip


def token_lengths(table: pa.Table) -> np.ndarray:
    """Return the number of tokens of each row (int64), in `input_ids` and other id columns (`chosen_input_ids`)."""
    return np.sum(_id_lengths(table), axis=0)


def longest_of(table: pa.Table) -> np.ndarray:
    """Return the number of tokens of each row's longest text (int64): of a pair of answers, of the longer one."""
    return np.max(_id_lengths(table), axis=0)


def _id_lengths(table: pa.Table) -> list[np.ndarray]:
    names = (name for name in table.column_names if name == "input_ids" or name.endswith("_input_ids"))
    return [np.zeros(table.num_rows, dtype=np.int64), *(lengths_of(table, name) for name in names)]


def lengths_of(table: pa.Table, name: str) -> np.ndarray:
    """Return the number of values of each row (int64) in a column of lists."""
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *(chunk.value_lengths().to_numpy() for chunk in table[name].chunks)])


def marked(table: pa.Table, name: str, without: int) -> np.ndarray:
    """Return how many values of each row (int64) in a column of lists are not `without`."""
    values = [chunk.flatten().to_numpy() for chunk in table[name].chunks]
    found = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, dtype=np.int8), *values]) != without)])
    return np.diff(found[np.cumsum(np.concatenate([[0], lengths_of(table, name)]))])


def class_counts(table: pa.Table, classes: int) -> list[int] | None:
    """Return how often each class occurs in `labels`: in rows (also if they have several), or in tokens, if each has a
    class. None without labels."""
    if "labels" not in table.column_names:
        return None
    counts = np.zeros(classes, dtype=np.int64)
    for chunk in table["labels"].chunks:
        values = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        found = values.to_numpy()
        if pa.types.is_floating(values.type):  # 0 or 1 for each class
            counts += (found.reshape(-1, classes) > 0).sum(0)
        else:
            counts += np.bincount(found[found >= 0], minlength=classes)
    return counts.tolist()


def _with_origins_from(table: pa.Table, start: int) -> pa.Table:
    if not start:
        return table
    chunks = [pa.array(chunk.to_numpy() + np.int64(start)) for chunk in table[ORIGIN].chunks]
    return table.set_column(table.column_names.index(ORIGIN), ORIGIN, pa.chunked_array(chunks, pa.int64()))
