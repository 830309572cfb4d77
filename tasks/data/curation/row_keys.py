"""Equality of rows: dense integer keys over text columns, computed in Arrow."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tables.spill import BATCH, LARGE


def row_keys(tables: Sequence[pa.Table], columns: Sequence[str]) -> list[np.ndarray]:
    """Return an int64 key per row for each table; two rows share a key if and only if they are equal in `columns`.

    Text is compared without surrounding whitespace. Keys are valid within one call only.
    """
    if columns and sum(table.nbytes for table in tables) > LARGE:
        hashes = np.concatenate([_hashes(table, columns) for table in tables])
        keys = np.unique(hashes, return_inverse=True)[1].astype(np.int64)
        return np.split(keys, np.cumsum([table.num_rows for table in tables])[:-1])
    keys = np.zeros(sum(table.num_rows for table in tables), dtype=np.int64)
    for column in columns:
        codes, distinct = _codes([table[column] for table in tables])
        # made dense after each column, so that the product fits in 64 bits
        keys = np.unique(keys * distinct + codes, return_inverse=True)[1] if keys.any() else codes
    return np.split(keys, np.cumsum([table.num_rows for table in tables])[:-1])


def rows_in(table: pa.Table, other: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return the positions of the rows of `other` that are in `table` too, by `columns`; memory for large tables is
    proportional to `other`."""
    if not columns or table.nbytes + other.nbytes <= LARGE:
        known, keys = row_keys([table, other], columns)
        return np.flatnonzero(np.isin(keys, known))
    if not other.num_rows:
        return np.zeros(0, dtype=np.int64)
    distinct, which = np.unique(_hashes(other, columns), return_inverse=True)
    found = np.zeros(len(distinct), dtype=bool)
    for start in range(0, table.num_rows, BATCH):
        hashes = _hashes(table.slice(start, BATCH), columns)
        places = np.minimum(np.searchsorted(distinct, hashes), len(distinct) - 1)
        found[places[distinct[places] == hashes]] = True
    return np.flatnonzero(found[which])


def _hashes(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return 120 bits of BLAKE2b per row, batch by batch, so that the texts are not copied as a whole.

    In ten million rows, two different ones share a hash with probability under 1e-22. The last byte is never zero, as
    numpy strips trailing zeros.
    """
    found = np.empty(table.num_rows, dtype="S16")
    for start in range(0, table.num_rows, BATCH):
        some = table.slice(start, BATCH)
        texts = [_as_text(some[name]).to_pylist() for name in columns]
        rows = ("\x1f".join("\x00" if text is None else text for text in row) for row in zip(*texts, strict=True))
        digests = [hashlib.blake2b(row.encode(), digest_size=15).digest() + b"." for row in rows]
        found[start : start + len(digests)] = digests
    return found


def _codes(columns: list[pa.ChunkedArray]) -> tuple[np.ndarray, int]:
    chunks = [chunk for column in columns for chunk in _as_text(column).chunks]
    # encoded together, so that all chunks share one dictionary
    encoded = pc.dictionary_encode(pa.chunked_array(chunks, pa.string()), null_encoding="encode")
    if not encoded.num_chunks:
        return np.zeros(0, dtype=np.int64), 1
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks])
    return codes.astype(np.int64), max(1, len(encoded.chunk(0).dictionary))


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_nested(column.type):  # Arrow has no hash for lists and structs
        return pa.chunked_array([pa.array([repr(value) for value in column.to_pylist()], pa.string())])
    return pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
