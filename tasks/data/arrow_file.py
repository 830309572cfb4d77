"""Tables on disk: Arrow IPC files, equal bytes for equal rows, opened by mapping them into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

BATCH_ROWS = 16_384


def write(table: pa.Table, path: Path) -> None:
    """Write `table` as an uncompressed Arrow IPC file (a compressed one cannot be mapped), in batches of 16,384 rows.

    Equal content gives equal bytes, however it was chunked, sliced or dictionary-encoded before; metadata is left out.
    """
    plain = pa.table(
        [_canonical(column) for column in table.columns],
        schema=pa.schema([pa.field(f.name, _index32(f.type), f.nullable) for f in table.schema]),
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, plain.schema) as writer:
        writer.write_table(plain, max_chunksize=BATCH_ROWS)


def open_table(path: Path) -> pa.Table:
    """The table of an Arrow IPC file, memory-mapped: nothing is copied, pages are read as they are touched."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _canonical(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        # a slice keeps the whole dictionary of its parent: only the values in use, in order of first use
        return _whole(column.cast(column.type.value_type)).dictionary_encode()
    return _whole(column)


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """One chunk whose bytes depend on its values alone."""
    whole = pa.chunked_array([column.combine_chunks()], column.type)
    if column.null_count or pa.types.is_boolean(column.type):
        # what lies under a null and past the last bit is whatever was there before: taking rows writes it anew
        return whole.take(pa.array(np.arange(len(whole))))
    return whole


def _index32(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), kind.value_type) if pa.types.is_dictionary(kind) else kind
