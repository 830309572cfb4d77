"""Arrow IPC files with equal bytes for equal rows, opened by memory mapping."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 16_384


def write(table: pa.Table, path: Path) -> None:
    """Write `table` as an uncompressed Arrow IPC file (a compressed one cannot be mapped), in batches of 16,384 rows.

    Equal content gives equal bytes, independent of chunks, slices and dictionaries; metadata is not written.
    """
    dictionaries = {f.name: _values(table[f.name]) for f in table.schema if pa.types.is_dictionary(f.type)}
    schema = pa.schema([pa.field(f.name, _index32(f.type), f.nullable) for f in table.schema])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, table.num_rows, BATCH_ROWS):
            some = table.slice(start, BATCH_ROWS)
            arrays = [_canonical(some[name], dictionaries.get(name)) for name in some.column_names]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def open_table(path: Path) -> pa.Table:
    """Return the table of an Arrow IPC file, memory-mapped: nothing is copied, pages are read on access."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _values(column: pa.ChunkedArray) -> pa.Array:
    """Return a dictionary column's used values, in order of first use: a slice keeps its parent's whole dictionary."""
    seen: dict[str | None, None] = {}
    for chunk in column.chunks:
        seen |= dict.fromkeys(chunk.unique().to_pylist())
    return pa.array([value for value in seen if value is not None], column.type.value_type)


def _canonical(column: pa.ChunkedArray, values: pa.Array | None) -> pa.Array:
    """Return one array with bytes that depend only on its values."""
    if values is not None:
        codes = pc.index_in(column.cast(column.type.value_type), value_set=values)
        return pa.DictionaryArray.from_arrays(_whole(codes), values)
    return _whole(column)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    # A slice shares its parent's buffers, and the bytes under a null or after the last bit are undefined: `take`
    # writes new buffers.
    return column.combine_chunks().take(pa.array(np.arange(len(column))))


def _index32(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), kind.value_type) if pa.types.is_dictionary(kind) else kind
