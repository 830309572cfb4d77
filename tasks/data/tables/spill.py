"""Keeps tables too large for memory in memory-mapped scratch files, with pages that the system can evict."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.artifacts.scratch import Scratch

LARGE = 48 * 2**20  # bytes; smaller tables stay in memory
BATCH = 8192


def spilled(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Return the tables, in memory if they are small, else in scratch files (one per run of equal schemas)."""
    small: list[pa.Table] = []
    size = 0
    stream = iter(tables)
    for table in stream:
        small.append(table)
        size += table.nbytes
        if size > LARGE:
            break
    else:
        return small
    with _Scratch() as scratch:
        for table in _chain(small, stream):
            scratch.add(table)
        return scratch.tables()


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return rows of a table, in the order of `rows`: in memory if the table is small, else in a scratch file."""
    if table.nbytes <= LARGE:
        return table.take(pa.array(rows)).combine_chunks()
    batches = table.to_batches()
    starts = np.concatenate([[0], np.cumsum([batch.num_rows for batch in batches])])
    groups = (np.asarray(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))
    found = spilled(_picked(batches, starts, some, table.schema) for some in groups)
    return pa.concat_tables(found) if found else table.slice(0, 0)


def _picked(batches: list[pa.RecordBatch], starts: np.ndarray, rows: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Return rows, taken batch by batch: Arrow's `take` on a table would first concatenate all text."""
    order = np.argsort(rows, kind="stable")
    rising = rows[order]
    at = np.searchsorted(starts, rising, side="right") - 1
    edges = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1], [True]]))
    parts = [batches[int(at[low])].take(pa.array(rising[low:high] - starts[at[low]])) for low, high in pairwise(edges)]
    back = np.argsort(order, kind="stable")
    return plain_files(pa.Table.from_batches(parts, schema)).combine_chunks().take(pa.array(back))


def _chain(small: list[pa.Table], rest: Iterable[pa.Table]) -> Iterable[pa.Table]:
    while small:
        yield small.pop(0)
    yield from rest


class _Scratch:
    """A folder of Arrow files, removed once they are mapped."""

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._paths: list[Path] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> _Scratch:
        return self

    def add(self, table: pa.Table) -> None:
        table = plain_files(table)
        if self._writer is None or table.schema != self._schema:
            self._close()
            self._paths.append(self._scratch.path / f"{len(self._paths)}.arrow")
            self._schema = table.schema
            self._writer = pa.ipc.new_file(str(self._paths[-1]), table.schema)
        self._writer.write_table(table)

    def tables(self) -> list[pa.Table]:
        self._close()
        return [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in self._paths]

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __exit__(self, *_: object) -> None:
        self._close()
        self._scratch.remove()  # mapped files stay readable


def plain_files(table: pa.Table) -> pa.Table:
    """Convert dictionaries to plain strings: a file has one dictionary per column, but each batch has its own."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table[field.name].cast(field.type.value_type))
    return table
