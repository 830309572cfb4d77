"""Normalises column types, so that rows with equal values are equal in any source format."""

from __future__ import annotations

import pyarrow as pa


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert dictionaries to their values, large strings to strings, any list type to lists; also within lists."""
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column of this type after `plain`."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = plain_type(kind.value_type)
        return kind if pa.types.is_list(kind) and inner == kind.value_type else pa.list_(inner)
    return kind
