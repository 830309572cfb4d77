"""Columns in one normal type, so that rows with equal values are equal whatever their format was."""

from __future__ import annotations

import pyarrow as pa


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries as their values, large strings as strings, lists of any layout as lists; also within lists."""
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that `plain` gives a column of this type."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = plain_type(kind.value_type)
        return kind if pa.types.is_list(kind) and inner == kind.value_type else pa.list_(inner)
    return kind
