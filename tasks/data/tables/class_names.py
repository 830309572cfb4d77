"""Class names that stand in a file's metadata, beside columns of numbers: `ClassLabel` of the `datasets` library."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

KEY = b"huggingface"
ORDER = b"class_names"  # in a column's own metadata: the names in the order of the ids they stood for


def with_class_names(table: pa.Table, metadata: Mapping[bytes, bytes] | None) -> pa.Table:
    """The table with names in place of the class ids of its `ClassLabel` columns, in lists too; -1, which stands for
    no label there, becomes null. The order of the names goes with the column, for ids to stay what they were.

    Args:
        metadata: of an Arrow schema, as `datasets` writes it (`features.arrow_schema.metadata`, Arrow and Parquet
            files). Without any, or for columns of other kinds, nothing changes.
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
    """A field of another type, of whose metadata the order of its classes is left."""
    said = (field.metadata or {}).get(ORDER)
    return pa.field(field.name, kind, metadata={ORDER: said} if said else None)


def names_in_order(table: pa.Table, name: str) -> list[str] | None:
    """The names of a column's classes in the order of their ids; None where nobody gave them ids."""
    said = (table.schema.field(name).metadata or {}).get(ORDER)
    return json.loads(said) if said else None


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    try:
        features = json.loads((metadata or {})[KEY])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    found = {name: _names_in(feature) for name, feature in features.items()}
    return {name: names for name, names in found.items() if names}


def _names_in(feature: Any) -> list[str] | None:
    """The names of a `ClassLabel`, or of the one that a list (`Sequence`, `List`, `[feature]`) holds."""
    if isinstance(feature, Sequence) and not isinstance(feature, str) and len(feature) == 1:
        return _names_in(feature[0])
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") == "ClassLabel":
        return feature.get("names")
    return _names_in(feature["feature"]) if feature.get("_type") in ("Sequence", "List", "LargeList") else None


def _id_type(kind: pa.DataType) -> pa.DataType | None:
    """The integers a column holds, in lists or not; None where it holds something else (names already, say)."""
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
        values = pa.array(values.to_pylist(), values.type)  # a null may hide values, which offsets still count
    if not pa.types.is_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    missing = values.is_null() if values.null_count else None
    inner, offsets = _named(values.flatten(), names), pc.subtract(values.offsets, values.offsets[0])
    return pa.ListArray.from_arrays(offsets, inner, mask=missing)
