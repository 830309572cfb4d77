"""One parser per file format: a file's content -> Arrow columns and the line (or row) each record stands on.

A parser does not stop at the first bad record: it adds `file:line: what is wrong` to `problems` and goes on, so that
a reading can report them together. CSV and JSON pass through Python in batches: their records need exact line numbers
and exact complaints, and pyarrow's readers swallow an unclosed quote, read dates out of text, and name no lines.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

import csv
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.class_names import field_of, with_class_names
from tasks.data.spans import as_spans
from tasks.data.spill import BATCH, spilled
from tasks.data.text_file import Text

FIELD = 2**31 - 1  # characters a field may have
WHOLE = r"^-?(0|[1-9][0-9]{0,17})?$"
REAL = r"^(-?(0|[1-9][0-9]{0,14})(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?)?$"
JSON_GAP = re.compile(r"[\s,]*")

Parsed = tuple[pa.Table, Sequence[int]]


def tsv_is_quoted(text: Text) -> bool:
    """Whether a tab-separated file quotes as CSV does; most do not, and then a quote is a character like any other.

    It does if it shows a sign of it (a doubled quote, a quoted header) and reads as such without one misplaced quote.
    """
    with text.open() as file:
        if not (text.head().startswith('"') or any('""' in line for line in file)):
            return False
    limit = csv.field_size_limit(FIELD)
    try:
        with text.open() as file:
            return len({len(values) for values in csv.reader(file, delimiter="\t", strict=True) if values}) == 1
    except csv.Error:
        return False
    finally:
        csv.field_size_limit(limit)


def delimited(name: str, text: Text, delimiter: str, quoted: bool, problems: list[str]) -> Parsed | None:
    """CSV or TSV; `quoted` is RFC 4180 (quotes, newlines within them). All columns are strings.

    A record stands on the line it begins on. Blank lines are skipped, as everywhere.
    """
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    limit = csv.field_size_limit(FIELD)  # the module's own, for all: put back below
    try:
        records = _records(name, text, delimiter, quoted, problems)
        header = next(records, (1, []))[1]
        repeated = sorted({column for column in header if header.count(column) > 1})
        if repeated:
            problems.append(f"{name}:1: the header names {', '.join(map(repr, repeated))} twice")
            return None
        schema = pa.schema([(column, pa.string()) for column in header])
        lines = array("q")

        def tables() -> Iterator[pa.Table]:
            while some := list(islice(records, BATCH)):
                good = [(line, values) for line, values in some if len(values) == len(header)]
                bad = [(line, values) for line, values in some if len(values) != len(header)]
                problems.extend(f"{name}:{line}: {len(v)} fields, the header has {len(header)}" for line, v in bad)
                lines.extend(line for line, _ in good)
                columns = list(zip(*(values for _, values in good), strict=True)) or [()] * len(header)
                yield pa.table([pa.array(column, pa.string()) for column in columns], schema=schema)

        return pa.concat_tables([schema.empty_table(), *spilled(tables())]), lines
    finally:
        csv.field_size_limit(limit)


def _records(
    name: str, text: Text, delimiter: str, quoted: bool, problems: list[str]
) -> Iterator[tuple[int, list[str]]]:
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    line = 1
    try:
        with text.open() as file:
            reader = csv.reader(_unmarked(file), delimiter=delimiter, quoting=quoting, strict=True)
            for values in reader:
                if values:
                    yield line, values
                line = reader.line_num + 1
    except csv.Error as error:  # after a stray quote nothing that follows can be trusted
        why = "its quote is never closed" if "end of data" in str(error) else str(error)
        problems.append(f"{name}:{line}: cannot be read on from here: {why}")


def _unmarked(lines: Iterable[str]) -> Iterator[str]:
    for at, line in enumerate(lines):
        yield line if at else line.removeprefix("\ufeff")


def numbers(tables: list[pa.Table]) -> list[pa.Table]:
    """String columns that hold nothing but numbers, in all of `tables`, become int64 or double; `007` stays text.

    An empty cell in such a column becomes null, as it has no number; a column of text keeps its `""`.
    """
    for column in tables[0].column_names if tables else ():
        chunks = [chunk for table in tables for chunk in table[column].chunks]
        kind = _numeric(pa.chunked_array(chunks, pa.string()))
        if kind is not None:
            tables = [_cast(table, column, kind) for table in tables]
    return tables


def _numeric(values: pa.ChunkedArray) -> pa.DataType | None:
    for pattern, kind in ((WHOLE, pa.int64()), (REAL, pa.float64())):
        # a look at the head first: long texts are not scanned whole to learn that they are no number
        if all(pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in (values[:100], values)):
            return kind if pc.any(pc.not_equal(values, "")).as_py() else None
    return None


def _cast(table: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    at, values = table.column_names.index(column), table[column]
    bare = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return table.set_column(at, column, pc.cast(bare, kind))


def json_objects(name: str, text: Text, problems: list[str]) -> Parsed | None:
    """An array of objects (records counted by row; held whole) or one object a line (by line; read piece by piece).
    Keys a record lacks are null."""
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    whole = text.head().lstrip().startswith("[")
    records = _elements(name, text.read(), problems) if whole else _lines(name, text, problems)
    places = array("q")

    def tables() -> Iterator[pa.Table]:
        yield from _batches(name, records, places, problems)

    found = spilled(tables())
    table = merged(found, problems, [name] * len(found))
    return None if table is None else (table, places)


def _batches(
    name: str, records: Iterator[tuple[int, Any]], places: array[int], problems: list[str]
) -> Iterator[pa.Table]:
    while some := list(islice(records, BATCH)):
        good = [(place, record) for place, record in some if isinstance(record, dict) and record]
        bad = [(place, record) for place, record in some if not isinstance(record, dict) or not record]
        problems.extend(
            f"{name}:{place}: is {_kind(record)}, not an object with named columns" for place, record in bad
        )
        places.extend(place for place, _ in good)
        yield _columns(name, good, problems)


def _lines(name: str, text: Text, problems: list[str]) -> Iterator[tuple[int, Any]]:
    with text.open() as file:
        for number, line in enumerate(_unmarked(file), 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                problems.append(f"{name}:{number}: broken JSON: {error.msg} at column {error.colno}")


def _elements(name: str, text: str, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """One element after the other, so that the whole file is never a list of Python objects."""
    one = json.JSONDecoder().raw_decode
    at, row = text.index("[") + 1, 0
    try:
        while text[(at := _after(text, at)) : at + 1] != "]":
            value, at = one(text, at)
            row += 1
            yield row, value
        if text[at + 1 :].strip():
            raise json.JSONDecodeError("text after the end of the array", text, at + 1)
    except json.JSONDecodeError as error:
        problems.append(f"{name}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}")


def _after(text: str, at: int) -> int:
    gap = JSON_GAP.match(text, at)
    return gap.end() if gap else at


def _columns(name: str, records: list[tuple[int, dict[str, Any]]], problems: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for key in dict.fromkeys(key for _, record in records for key in record):
        try:
            columns[key] = pa.array([record.get(key) for _, record in records])
        except (pa.ArrowException, ValueError, OverflowError) as error:
            if (spans := as_spans([record.get(key) for _, record in records])) is not None:
                columns[key] = pa.array(spans)
                continue
            problems.append(_odd_one(name, key, [(place, record.get(key)) for place, record in records], error))
    return pa.table(columns)


def _odd_one(name: str, key: str, values: list[tuple[int, Any]], error: Exception) -> str:
    """The first value of another kind than the one before it: Arrow says only that there is one."""
    known = [(place, value) for place, value in values if value is not None]
    for place, value in known:
        if _kind(value) != _kind(known[0][1]):
            return f"{name}:{place}: {key!r} is {_kind(value)}, but {_kind(known[0][1])} at {name}:{known[0][0]}"
    return f"{name}:{known[0][0]}: {key!r} cannot be kept: {error}"


def _kind(value: object) -> str:
    if value == {}:
        return "an empty object"
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def arrow_rows(path: Path, name: str, format: str, problems: list[str]) -> Parsed | None:
    """A Parquet file, or an Arrow IPC file or stream; dictionaries and wide strings become plain strings, class ids the
    names that the file's metadata has for them."""
    try:
        table = _open(path, format)
        table = with_class_names(table, table.schema.metadata)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        problems.append(f"{name} is no readable {format} file (cut short, or another format): {first_line}")
        return None
    columns = [_plain(column) for column in table.columns]
    fields = [field_of(field, column.type) for field, column in zip(table.schema, columns, strict=True)]
    table = pa.table(columns, schema=pa.schema(fields))
    return table, range(1, table.num_rows + 1)


def _open(path: Path, format: str) -> pa.Table:
    if format == "parquet":
        import pyarrow.parquet as pq  # late: only who reads Parquet pays for it

        file = pq.ParquetFile(path)  # not read_table: that would read columns out of folder names
        if file.metadata.num_rows == 0:
            return file.read()
        table = pa.concat_tables(spilled(pa.Table.from_batches([each]) for each in file.iter_batches(BATCH)))
        return table.replace_schema_metadata(file.schema_arrow.metadata)
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    wide = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if wide else column


def folder_rows(paths: Iterable[Path], names: list[str], texts: list[str]) -> Parsed:
    """One row per text file: `text`, its first line as `title`, the rest as `body`, its folder's name as `label`."""
    parts = [text.lstrip().partition("\n") for text in texts]
    columns = {
        "text": texts,
        "title": [title.strip() for title, _, _ in parts],
        "body": [body.strip() for _, _, body in parts],
        "label": [path.parent.name for path in paths],
        "file": names,
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), [1] * len(names)


def merged(tables: list[pa.Table], problems: list[str], names: list[str]) -> pa.Table | None:
    """The tables below one another, int and float meeting as float; else a problem names file and column."""
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else None
    except pa.ArrowException:
        kinds: dict[str, tuple[pa.DataType, str]] = {}
        for table, name in zip(tables, names, strict=True):
            for field in table.schema:
                kind, seen = kinds.setdefault(field.name, (field.type, name))
                if field.type != kind:
                    problems.append(f"{name}: {field.name!r} holds {field.type}, but {kind} earlier in {seen}")
        return None
