"""Class names of a label column, and class ids of its rows; the rules are in `tasks.data.rows.class_text`."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.data.messages import count, first, nearest, rows_at
from tasks.data.rows.class_text import REAL, declared, distinct, keys_of, missing_among, names_of


def label_names(
    train_column: pa.ChunkedArray,
    given: list[str] | None = None,
    field: str = "data.train",
    table: pa.Table | None = None,
    order: list[str] | None = None,
) -> list[str]:
    """Return the class names in the order of their ids.

    Args:
        given: `data.labels`; determines the order.
        table: has the lineage columns, for files and lines in messages.
        order: the names of the data's own class ids; determines the order if it contains all names found (names that
            no row has are classes too). Without `given` and `order`, numbers are sorted by value, texts by code point.

    Raises:
        DataError: a missing label, fewer than two classes, a label that `given` does not list, or a column type that
            is not a single label.
        ConfigError: `given` lists a class twice.
    """
    if given is None and is_real(train_column):
        _refuse_real(train_column, field, table)
    names = _as_names(train_column, field, table)
    found = distinct(names.unique().to_pylist())
    if len(found) < 2:
        raise DataError(f"{field}: every row has the label {found[0]!r}; classification needs at least two classes")
    if given is not None:
        given = declared(given)
        _ids(names, given, f"{field}: labels that data.labels does not list", table)
        return given
    if missing := missing_among(found):
        rows = np.flatnonzero(pc.is_in(names, value_set=pa.array(missing)).to_numpy())
        raise DataError(f"{field}: {count(len(rows), 'row')} without a label: {first([*map(repr, missing)])} among "
                        f"labels that are all numbers or booleans: {rows_at(table, rows)}; give these rows a label or "
                        "remove them (if it is a class, list every class in data.labels)")  # fmt: skip
    if order is not None and set(found) <= set(declared(order)):
        return declared(order)
    numbers = all(re.fullmatch(r"[-+]?[0-9]{1,18}", name) for name in found)
    return sorted(found, key=int) if numbers else found


def encode_labels(
    column: pa.ChunkedArray, names: Sequence[str], field: str = "data.validation", table: pa.Table | None = None
) -> pa.Array:
    """Return the class id (int64, 0-based position in `names`) of each row.

    Raises:
        DataError: labels that are not in `names`; gives the nearest name, the count and the rows.
    """
    return _ids(_as_names(column, field, table), names, f"{field}: labels that the training data does not have", table)


def is_real(column: pa.ChunkedArray) -> bool:
    """Whether a column contains numbers with fractions (and, if it is of strings, nothing else)."""
    if not (pa.types.is_floating(_kind(column)) or pa.types.is_string(column.type)):
        return False
    values = as_numbers(column)
    if pa.types.is_string(column.type):
        empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True).to_numpy()
        if np.isnan(values[~empty]).any():
            return False
    return bool(np.any(np.isfinite(values) & (values != np.floor(values))))


def as_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return numbers, also written as text, as float64; NaN for everything else."""
    if pa.types.is_string(column.type):
        plain = pc.if_else(pc.match_substring_regex(column, REAL), pc.utf8_trim_whitespace(column), None)
        column = pc.replace_substring_regex(plain, r"^\+", "")
    elif not (_is_number(column.type) or pa.types.is_boolean(column.type) or pa.types.is_decimal(column.type)):
        return np.full(len(column), np.nan)
    return pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64)


def _ids(labels: pa.ChunkedArray, names: Sequence[str], message: str, table: pa.Table | None) -> pa.Array:
    ids = pc.index_in(keys_of(labels), value_set=keys_of(pa.array(names, pa.string())))
    if ids.null_count:
        unknown = np.flatnonzero(ids.is_null().to_numpy())
        counted = labels.take(pa.array(unknown)).value_counts().to_pylist()
        each = [f"{c['values']!r} ({count(c['counts'], 'row')}{nearest(c['values'], names)})" for c in counted]
        raise DataError(f"{message}: {first(each)}; at {rows_at(table, unknown)}")
    return pc.cast(pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.int32()), pa.int64())


def _as_names(column: pa.ChunkedArray, field: str, table: pa.Table | None) -> pa.ChunkedArray:
    """Return the class name of each row. Raises DataError for missing labels and types that are not single labels."""
    kind = _kind(column)
    column = column.cast(kind)
    if pa.types.is_nested(kind):
        raise DataError(f"{field}: the label column holds {kind}, which is multi-label, not single-label "
                        f"classification: {rows_at(table, range(len(column)))}")  # fmt: skip
    if pa.types.is_floating(kind):
        column = _whole(column, field, table)
    elif not (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_text(kind)):
        raise DataError(f"{field}: the label column holds {kind}; labels are strings, whole numbers or booleans: "
                        f"{rows_at(table, range(len(column)))}")  # fmt: skip
    names = names_of(pc.cast(column, pa.string()))
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(names), ""), True)
    if len(names) == 0 or pc.any(empty).as_py():
        rows = np.flatnonzero(empty.to_numpy())
        raise DataError(f"{field}: {count(len(rows), 'row')} without a label: {rows_at(table, rows)}")
    return names


def _whole(column: pa.ChunkedArray, field: str, table: pa.Table | None) -> pa.ChunkedArray:
    """Convert floats to integers: a column of integers with a missing value is read as floats."""
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
