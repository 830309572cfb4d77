"""Class names in a file's metadata, for columns of class ids: `ClassLabel` of the `datasets` library."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

KEY = b"huggingface"
ORDER = b"class_names"  # in a column's own metadata: the names in the order of their ids


def with_class_names(table: pa.Table, metadata: Mapping[bytes, bytes] | None) -> pa.Table:
    """Replace the class ids of `ClassLabel` columns by names, also within lists; -1 (no label) becomes null. The
    column's metadata keeps the order of the names, so that ids stay the same.

    Args:
        metadata: of an Arrow schema, as `datasets` writes it (`features.arrow_schema.metadata`, Arrow and Parquet
            files). Without it, and for other columns, nothing changes.
    """
    for name, names in _class_names(metadata).items():
        if name in table.column_names and (kind := _id_type(table.schema.field(name).type)) is not None:
            column = pa.chunked_array(
                [_named(chunk, names) for chunk in table[name].chunks], _as_text(table.schema.field(name).type, kind)
            )
            field = pa.field(name, column.type, metadata={ORDER: json.dumps(names)})
            table = table.set_column(table.column_names.index(name), field, column)
    return table


def field_of(field: pa.Field, kind: pa.DataType) -> pa.Field:
    """Return the field with another type; only the order of the classes is kept of its metadata."""
    order = (field.metadata or {}).get(ORDER)
    return pa.field(field.name, kind, metadata={ORDER: order} if order else None)


def names_in_order(table: pa.Table, name: str) -> list[str] | None:
    """Return the names of a column's classes in the order of their ids; None for columns without class ids."""
    order = (table.schema.field(name).metadata or {}).get(ORDER)
    return json.loads(order) if order else None


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    try:
        features: Any = json.loads((metadata or {})[KEY])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(features, Mapping):
        return {}
    found = {str(name): _names_in(feature) for name, feature in features.items()}
    return {name: names for name, names in found.items() if names}


def _names_in(feature: object) -> list[str] | None:
    """Return the names of a `ClassLabel`, or of the `ClassLabel` in a list (`Sequence`, `List`, `[feature]`)."""
    if isinstance(feature, Sequence) and not isinstance(feature, str) and len(feature) == 1:
        return _names_in(feature[0])
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return names if known else None
    return _names_in(feature.get("feature")) if feature.get("_type") in ("Sequence", "List", "LargeList") else None


def _id_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the integer type of a column's values, also within lists; None for other types (such as names)."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind if pa.types.is_integer(kind) else None


def _as_text(kind: pa.DataType, ids: pa.DataType) -> pa.DataType:
    return pa.string() if kind == ids else pa.list_(_as_text(kind.value_type, ids))


def _named(values: pa.Array, names: Sequence[str]) -> pa.Array:
    if pa.types.is_integer(values.type):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
        return pa.array(names, pa.string()).take(pc.if_else(known, values, None).cast(pa.int64()))
    if values.null_count:
        values = pa.array(values.to_pylist(), values.type)  # offsets may include values hidden under a null
    if not pa.types.is_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    missing = values.is_null() if values.null_count else None
    inner, offsets = _named(values.flatten(), names), pc.subtract(values.offsets, values.offsets[0])
    return pa.ListArray.from_arrays(offsets, inner, mask=missing)
