"""Labels of single-label classification: from what a column holds to class names, and from names to class ids.

One rule names classes in train, validation and `data.labels`, whether a file has types or not: a text as it stands, a
whole number without its fraction (`1.0` is the class `1`), a boolean `true` or `false` (`True`, `TRUE` are the same).
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import ConfigError, DataError
from tasks.data.messages import count, first, nearest, rows_at

WHOLE = r"^(-?(?:0|[1-9][0-9]*))\.0*$"
REAL = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*$"
BOOLEANS = ("True", "TRUE", "False", "FALSE")


def label_names(
    train_column: pa.ChunkedArray,
    given: list[str] | None = None,
    field: str = "data.train",
    table: pa.Table | None = None,
    order: list[str] | None = None,
) -> list[str]:
    """The class names, in the order of their ids: as `given`, or as the data's own ids have them (`order`, if it knows
    all that are there; then those no row has are classes too), or numbers numerically and others by code point.

    `table` (with lineage columns) lets messages name files and lines. Raises DataError for a missing label, fewer
    than two classes, a label not in `given` (`data.labels`), and columns that are no single label.
    """
    if given is None and is_real(train_column):
        _refuse_real(train_column, field, table)
    names = _as_names(train_column, field, table)
    raw = names.unique()
    distinct = sorted(dict(zip(_keys(raw).to_pylist(), raw.to_pylist(), strict=True)).values())
    if len(distinct) < 2:
        raise DataError(f"{field}: every row has the label {distinct[0]!r}; classification needs at least two classes")
    if given is None and order is not None and set(distinct) <= set(order):
        return list(order)
    if given is None:
        numbers = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in distinct)
        return sorted(distinct, key=int) if numbers else distinct
    keys = _keys(pa.array(given, pa.string())).to_pylist()
    if len(set(keys)) < len(keys):
        twice = sorted({name for name, key in zip(given, keys, strict=True) if keys.count(key) > 1})
        raise ConfigError(f"data.labels: lists {first(twice)} twice")
    _ids(names, given, f"{field}: labels that data.labels does not list", table)
    return list(given)


def encode_labels(
    column: pa.ChunkedArray, names: Sequence[str], field: str = "data.validation", table: pa.Table | None = None
) -> pa.Array:
    """The class id (int64, 0-based position in `names`) of each row.

    Raises DataError naming labels that are not among `names`, the nearest known one, how many and where.
    """
    return _ids(_as_names(column, field, table), names, f"{field}: labels that the training data does not have", table)


def is_real(column: pa.ChunkedArray) -> bool:
    """Whether a column holds numbers with a fraction, in a file without types nothing else: scores, not classes."""
    if not (pa.types.is_floating(_kind(column)) or pa.types.is_string(column.type)):
        return False
    values = as_numbers(column)
    if pa.types.is_string(column.type):
        empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True).to_numpy()
        if np.isnan(values[~empty]).any():
            return False
    return bool(np.any(np.isfinite(values) & (values != np.floor(values))))


def as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """float64 of numbers, written as text or not; NaN for what is no number."""
    if pa.types.is_string(column.type):
        plain = pc.if_else(pc.match_substring_regex(column, REAL), pc.utf8_trim_whitespace(column), None)
        column = pc.replace_substring_regex(plain, r"^\+", "")
    elif not (_is_number(column.type) or pa.types.is_boolean(column.type) or pa.types.is_decimal(column.type)):
        return np.full(len(column), np.nan)
    return pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64)


def _ids(labels: pa.ChunkedArray, names: Sequence[str], complaint: str, table: pa.Table | None) -> pa.Array:
    ids = pc.index_in(_keys(labels), value_set=_keys(pa.array(names, pa.string())))
    if ids.null_count:
        unknown = np.flatnonzero(ids.is_null().to_numpy())
        counted = labels.take(pa.array(unknown)).value_counts().to_pylist()
        each = [f"{c['values']!r} ({count(c['counts'], 'row')}{nearest(c['values'], names)})" for c in counted]
        raise DataError(f"{complaint}: {first(each)}; at {rows_at(table, unknown)}")
    return pc.cast(pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.int32()), pa.int64())


def _keys(names: Any) -> Any:
    """What names are compared by."""
    plain = pc.replace_substring_regex(names, WHOLE, r"\1")
    return pc.if_else(pc.is_in(plain, value_set=pa.array(BOOLEANS)), pc.utf8_lower(plain), plain)


def _as_names(column: pa.ChunkedArray, field: str, table: pa.Table | None) -> pa.ChunkedArray:
    """Strings as they are, whole numbers without a fraction, booleans as `true` and `false`; none missing."""
    kind = _kind(column)
    column = column.cast(kind)
    if pa.types.is_nested(kind):
        raise DataError(f"{field}: the label column holds {kind}: that is multi-label, not single-label "
                        f"classification: {rows_at(table, range(len(column)))}")  # fmt: skip
    if pa.types.is_floating(kind):
        column = _whole(column, field, table)
    elif not (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_text(kind)):
        raise DataError(f"{field}: the label column holds {kind}; labels are strings, whole numbers or booleans: "
                        f"{rows_at(table, range(len(column)))}")  # fmt: skip
    names = pc.replace_substring_regex(pc.cast(column, pa.string()), WHOLE, r"\1")
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(names), ""), True)
    if len(names) == 0 or pc.any(empty).as_py():
        rows = np.flatnonzero(empty.to_numpy())
        raise DataError(f"{field}: {count(len(rows), 'row')} without a label: {rows_at(table, rows)}")
    return names


def _whole(column: pa.ChunkedArray, field: str, table: pa.Table | None) -> pa.ChunkedArray:
    """3.0 is the class 3 (a column of integers with one gap is read as floats); 3.8 is a score."""
    _refuse_real(column, field, table)
    values = column.to_numpy()
    known = ~np.isnan(values)
    return pa.chunked_array([pa.array(np.where(known, values, 0).astype(np.int64), mask=~known)])


def _refuse_real(column: pa.ChunkedArray, field: str, table: pa.Table | None) -> None:
    values = as_numbers(column)
    rows = np.flatnonzero(~np.isnan(values) & ((values != np.floor(values)) | (np.abs(values) >= 2**53)))
    if len(rows):
        raise DataError(
            f"{field}: the label column holds real numbers ({values[rows[0]]} at {rows_at(table, rows)}): "
            "that is regression, not single-label classification"
        )


def _kind(column: pa.ChunkedArray) -> pa.DataType:
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
