"""Writes a Python caller's rows to Arrow files named by their content, in batches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.config.errors import DataError
from tasks.config.formats import by_suffix, packing
from tasks.data.messages import first
from tasks.data.sources.local_path import InvalidPath, local_path
from tasks.data.sources.materialize import BATCH, keep, table_of
from tasks.data.tables.class_names import field_of, with_class_names
from tasks.data.tables.odd_values import CONVERSION_ERRORS
from tasks.data.tables.plain_types import plain

SPLITS = ("train", "validation", "test")
SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*://|package:|hf:|sql:)")
NONE = object()
BY_POSITION = {1: ("text",), 2: ("text", "label"), 3: ("text", "text_pair", "label")}


def save_rows(data: Any, cache: Path) -> Any:
    """Return a `data` section (or its short form) with rows replaced by the files they were written to.

    Rows may be given as the whole section (`train`, or the splits of a `DatasetDict`), or as its `train`,
    `validation` and `test`.
    """
    if _is_section(data):
        given = dict(data)
    elif is_rows(data):
        given = splits_of(data)
        unknown = sorted(given.keys() - set(SPLITS))
        if unknown:
            raise DataError(f"data: unknown split {unknown[0]!r}; valid are {', '.join(SPLITS)}")
    else:
        return data
    return {name: str(rows_to_file(each, f"data.{name}", cache)) if name in SPLITS and is_rows(each) else each
            for name, each in given.items()}  # fmt: skip


def _is_section(data: object) -> bool:
    """Whether it is a section: it has `train`, and is not a `DatasetDict` (a mapping of tables only)."""
    return isinstance(data, Mapping) and "train" in data and not all(_is_table(each) for each in data.values())


def is_rows(value: object) -> bool:
    """Whether a value is rows, rather than names of files (a string, a path, a list of those).

    A list of strings is a list of texts, unless one of them is a file or looks like a file name.
    """
    if value is None or isinstance(value, str | Path):
        return False
    if isinstance(value, list | tuple) and value and all(isinstance(item, str | Path) for item in value):
        return not any(isinstance(item, Path) or _is_source(item) for item in value)
    return True


def _is_source(text: str) -> bool:
    """Whether a string is an existing file, a URL or another scheme, a path, or a name with a data file's suffix."""
    if "\n" in text or len(text) > 1024:
        return False
    if SCHEME.match(text) or _is_there(text):
        return True
    if re.search(r"\s", text):
        return False
    return "/" in text or packing(text) != "" or by_suffix(text) is not None


def _is_there(text: str) -> bool:
    try:
        return local_path(text).exists()
    except InvalidPath:
        return False


def rows_to_file(value: object, field: str, cache: Path, names: Sequence[str] | None = None) -> Path:
    """Write rows as an Arrow file below `cache`, named by its content.

    Args:
        value: a list (or any iterable, a generator too) of dicts or tuples; a dict of columns; a pandas or
            Polars frame; a `datasets.Dataset` or `IterableDataset` (class ids are replaced by names); a
            `pyarrow.Table` or `RecordBatch`; a torch-style dataset.
        names: the columns of tuples; by position `text, label` or `text, text_pair, label` if None.

    Raises:
        DataError: there are no rows, or a row has other keys or another type than the first; names the row.
    """
    tables = (_normalised(table, field) for table in _tables(value, field, names))
    return keep(tables, cache, field.rpartition(".")[2], field)


def splits_of(value: object) -> dict[str, Any]:
    """Return `{split: rows}` of a `DatasetDict` (or a mapping of datasets or DataFrames); else `{"train": value}`."""
    if isinstance(value, Mapping) and value and all(_is_table(each) for each in value.values()):
        known = {"val": "validation", "dev": "validation", "valid": "validation"}
        return {known.get(str(name), str(name)): each for name, each in value.items()}
    return {"train": value}


def _is_table(value: object) -> bool:
    return not isinstance(value, list | tuple | str) and (hasattr(value, "column_names") or hasattr(value, "columns"))


def _tables(value: Any, field: str, names: Sequence[str] | None) -> Iterator[pa.Table]:
    if isinstance(value, pa.Table):
        yield value
    elif isinstance(value, pa.RecordBatch):
        yield pa.Table.from_batches([value])
    elif hasattr(value, "with_format") and hasattr(value, "iter") and hasattr(value, "features"):  # datasets
        known = value.features.arrow_schema.metadata if value.features is not None else None
        for table in value.with_format("arrow").iter(BATCH):
            yield table.replace_schema_metadata(known)
    elif hasattr(value, "collect_schema") and hasattr(value, "collect"):  # a Polars LazyFrame
        yield value.collect().to_arrow()
    elif hasattr(value, "to_arrow"):  # Polars
        yield value.to_arrow()
    elif hasattr(value, "columns") and hasattr(value, "iloc"):  # pandas
        yield _from_frame(value, field)
    elif isinstance(value, Mapping):
        yield _from_columns(value, field)
    else:
        yield from _from_rows(value, field, names)


def _from_frame(frame: Any, field: str) -> pa.Table:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise DataError(f"{field}: duplicate column names: {first(names)}")
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except CONVERSION_ERRORS:  # the error names neither row nor type
        return table_of({name: frame.iloc[:, at].tolist() for at, name in enumerate(names)}, field, 1)


def _from_columns(columns: Mapping[str, Any], field: str) -> pa.Table:
    for name, values in columns.items():
        if not _has_order(values):
            raise DataError(f"{field}: column {name!r} is {type(values).__name__}, not a list with one value per row")
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        lengths = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        short = min(sizes, key=lambda name: sizes[name])
        raise DataError(f"{field}: columns differ in length: {lengths}; row {sizes[short] + 1} has no {short!r}")
    return table_of({name: list(values) for name, values in columns.items()}, field, 1)


def _has_order(values: object) -> bool:
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        return False
    return hasattr(values, "__len__") and getattr(values, "ndim", 1) > 0


def _from_rows(rows: Any, field: str, names: Sequence[str] | None) -> Iterator[pa.Table]:
    if not isinstance(rows, Iterable) and hasattr(rows, "__getitem__") and hasattr(rows, "__len__"):
        rows = map(rows.__getitem__, range(len(rows)))
    stream = iter(rows)
    head = next(stream, NONE)
    if head is NONE:
        raise DataError(f"{field}: there are no rows")
    if isinstance(head, Mapping):
        keys = list(head)
    elif isinstance(head, str):
        keys = list(names or ("text",))[:1]
    elif isinstance(head, tuple | list):
        keys = list(names or BY_POSITION.get(len(head), ()))
        if len(set(keys)) < len(keys):
            raise DataError(f"{field}: duplicate names in the columns: {first(keys)}")
        if len(keys) != len(head):
            raise DataError(f"{field}: row 1 has {len(head)} values; give rows as dicts, or pass column names")
    else:
        raise DataError(f"{field}: row 1 is a {type(head).__name__}; rows are dicts, tuples or strings")
    stream, at = chain([head], stream), 1
    while some := list(islice(stream, BATCH)):
        columns = _columns(some, keys, type(head), field, at)
        yield table_of(columns, field, at)
        at += len(some)


def _columns(rows: list[Any], keys: list[str], kind: type, field: str, start: int) -> dict[str, list[Any]]:
    for at, row in enumerate(rows, start):
        if isinstance(row, Mapping) != issubclass(kind, Mapping) or isinstance(row, str) != issubclass(kind, str):
            raise DataError(f"{field}: row {at} is a {type(row).__name__}, row 1 a {kind.__name__}")
        if isinstance(row, Mapping) and row.keys() != set(keys):
            missing, more = sorted(set(keys) - row.keys(), key=str), sorted(row.keys() - set(keys), key=str)
            what = f"has no {missing[0]!r}" if missing else f"has {more[0]!r}"
            raise DataError(f"{field}: row {at} {what}, unlike row 1, which has {', '.join(map(repr, keys))}")
        if isinstance(row, tuple | list) and len(row) != len(keys):
            raise DataError(f"{field}: row {at} has {len(row)} values, row 1 has {len(keys)}")
    if issubclass(kind, str):
        return {keys[0]: rows}
    if issubclass(kind, Mapping):
        return {key: [_plain(row[key]) for row in rows] for key in keys}
    return {key: [_plain(row[at]) for row in rows] for at, key in enumerate(keys)}


def _plain(value: Any) -> object:
    """Return a tensor or an array as Python lists and numbers."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, str) else value


def _normalised(table: pa.Table, field: str) -> pa.Table:
    """Replace class ids by names and convert to plain types, so that equal rows give equal bytes."""
    if len(set(table.column_names)) < table.num_columns:
        raise DataError(f"{field}: duplicate column names: {first(table.column_names)}")
    table = with_class_names(table, table.schema.metadata)
    columns = {name: plain(table[name]) for name in table.column_names}
    fields = [field_of(table.schema.field(name), column.type) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))
