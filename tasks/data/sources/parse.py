"""Parsers of JSON lines, Parquet and Arrow: a file's content -> Arrow columns and the line (or row) of each record.

A parser does not stop at the first bad record: it adds `file:line: what is wrong` to `problems` and continues, so that
all are reported together. CSV (`parse_delimited`) and JSON are parsed in Python, in batches, to have exact line numbers
and messages: pyarrow's readers accept an unclosed quote, turn text into dates, and report no lines.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.data.messages import first
from tasks.data.sources.data_file import DataFile, Parsed
from tasks.data.sources.text_file import Text, without_bom
from tasks.data.tables.class_names import field_of, with_class_names
from tasks.data.tables.odd_values import CONVERSION_ERRORS, odd_one
from tasks.data.tables.plain_types import plain
from tasks.data.tables.spans import as_spans
from tasks.data.tables.spill import BATCH, spilled

COLUMNS = 10_000  # a file with more was probably written with its rows as columns
BLANK = re.compile(r"[ \t\r\n]*")


def read_jsonl(file: DataFile) -> Parsed | None:
    """Read JSON: one object per line, or an array of objects."""
    text = file.text()
    return None if text is None else json_objects(file.name, text, file.problems)


def read_parquet(file: DataFile) -> Parsed | None:
    """Read a Parquet file."""
    return arrow_rows(file.path, file.name, "parquet", file.problems)


def read_arrow(file: DataFile) -> Parsed | None:
    """Read an Arrow IPC file or stream."""
    return arrow_rows(file.path, file.name, "arrow", file.problems)


def json_objects(name: str, text: Text, problems: list[str]) -> Parsed | None:
    """Parse an array of objects (in memory; places are row numbers) or one object per line (streamed; places are line
    numbers). A record's missing keys are null."""
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    whole = text.head().lstrip().startswith("[")
    return records_table(
        name, _elements(name, text.read(), problems) if whole else _lines(name, text, problems), problems
    )


def records_table(name: str, records: Iterator[tuple[int, Any]], problems: list[str]) -> Parsed | None:
    """Return a table of `(place, record)` pairs with the keys of all records; missing ones are null."""
    places = array("q")

    def tables() -> Iterator[pa.Table]:
        yield from _batches(name, records, places, problems)

    found = spilled(tables())
    starts = [0, *accumulate(table.num_rows for table in found)]
    table = merged(found, problems, [name] * len(found), [places[low:high] for low, high in pairwise(starts)])
    return None if table is None else (table, places)


def _batches(
    name: str, records: Iterator[tuple[int, Any]], places: array[int], problems: list[str]
) -> Iterator[pa.Table]:
    while some := list(islice(records, BATCH)):
        good = [(place, record) for place, record in some if isinstance(record, dict) and record]
        bad = [(place, record) for place, record in some if not isinstance(record, dict) or not record]
        problems.extend(
            f"{name}:{place}: is {kind_of(record)}, not an object with named columns" for place, record in bad
        )
        places.extend(place for place, _ in good)
        yield _columns(name, good, problems)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise RepeatedKey(f"an object has the key {key!r} twice")
    return found


class RepeatedKey(ValueError):
    """An object repeats a key, of which Python's `json` would silently keep the last value."""


DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)


def _lines(name: str, text: Text, problems: list[str]) -> Iterator[tuple[int, Any]]:
    with text.open() as file:
        for number, line in enumerate(without_bom(file), 1):
            if not line.strip():
                continue
            try:
                value = DECODER.decode(line.rstrip())
            except json.JSONDecodeError as error:
                problems.append(f"{name}:{number}: invalid JSON: {error.msg} at column {error.colno}")
            except (ValueError, RecursionError) as error:
                problems.append(f"{name}:{number}: invalid JSON: {error}")
            else:
                yield number, value


def _elements(name: str, text: str, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield one element at a time, so that the whole file is never a list of Python objects."""
    row = 0
    at = _after(text, text.index("[") + 1)
    try:
        while row or text[at : at + 1] != "]":
            value, at = DECODER.raw_decode(text, at)
            row += 1
            yield row, value
            at = _after(text, at)
            if text[at : at + 1] == "]":
                break
            if text[at : at + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            at = _after(text, at + 1)
        if (end := _after(text, at + 1)) < len(text):
            raise json.JSONDecodeError("text after the end of the array", text, end)
    except json.JSONDecodeError as error:
        problems.append(f"{name}:{error.lineno}: invalid JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}:{row + 1}: invalid JSON: {error}")


def _after(text: str, at: int) -> int:
    """Return the position of the first non-blank character from `at` on."""
    gap = BLANK.match(text, at)
    return gap.end() if gap else at


def _columns(name: str, records: list[tuple[int, dict[str, Any]]], problems: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    places = [place for place, _ in records]
    for key, place in _keys(records).items():
        if len(columns) == COLUMNS:
            problems.append(f"{name}:{place}: more than {COLUMNS:,} columns, the limit: {key!r} is the first one over")
            break
        column = column_of(name, key, [record.get(key) for _, record in records], places, problems)
        if column is not None:
            columns[key] = column
    return pa.table(columns)


class ColumnProblem(str):
    """A problem with all values of one column, which need not matter: not every column is used."""

    def __new__(cls, text: str, column: str) -> ColumnProblem:
        problem = super().__new__(cls, text)
        problem.column = column
        return problem

    column: str


def column_of(name: str, key: str, values: list[Any], places: Sequence[int], problems: list[str]) -> pa.Array | None:
    """Return JSON values as a column; if their types differ, as texts, with a `ColumnProblem` added; None for a key
    that is no name."""
    if key != key.encode(errors="replace").decode():  # a lone surrogate is not a valid name
        problems.append(f"{name}:{places[0]}: {key!r} is not a valid name of a column")
        return None
    try:
        return pa.array(values)
    except CONVERSION_ERRORS as error:
        if (spans := as_spans(values)) is not None:
            return pa.array(spans)
        problems.append(ColumnProblem(_odd_one_problem(name, key, places, values, error), key))
        return pa.array([_as_text(value) for value in values], pa.string())


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode(errors="replace").decode()


def _keys(records: list[tuple[int, dict[str, Any]]]) -> dict[str, int]:
    """Return all keys, in order, with the place where each occurs first."""
    found: dict[str, int] = {}
    for place, record in records:
        for key in record:
            found.setdefault(key, place)
    return found


def _odd_one_problem(name: str, key: str, places: Sequence[int], values: list[Any], error: Exception) -> str:
    odd, other = odd_one(values)
    kinds = kind_of(values[odd]), kind_of(values[other])
    if odd != other and kinds[0] != kinds[1]:
        return f"{name}:{places[odd]}: {key!r} is {kinds[0]}, but {kinds[1]} at {name}:{places[other]}"
    value = values[odd]
    inner = sorted({kind_of(each) for each in value if each is not None}) if isinstance(value, list) else []
    if len(inner) > 1:
        return f"{name}:{places[odd]}: {key!r} is a list of several types: {', '.join(inner)}"
    return f"{name}:{places[odd]}: {key!r} cannot be stored: {str(error).splitlines()[0]}"


def kind_of(value: object) -> str:
    """Return the name of a JSON value's type for messages."""
    if value == {}:
        return "an empty object"
    kinds = {bool: "true/false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def arrow_rows(path: Path, name: str, format: str, problems: list[str]) -> Parsed | None:
    """Read a Parquet file, or an Arrow IPC file or stream; dictionaries and large strings become plain strings, class
    ids the names in the file's metadata."""
    try:
        table = _open(path, format)
        table = with_class_names(table, table.schema.metadata)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        problems.append(f"{name} is not a readable {format} file (truncated, or another format): {first_line}")
        return None
    if repeated := [column for column, times in Counter(table.column_names).items() if times > 1]:
        problems.append(f"{name}: has the column {first([repr(column) for column in repeated])} twice")
        return None
    columns = [plain(column) for column in table.columns]
    fields = [field_of(field, column.type) for field, column in zip(table.schema, columns, strict=True)]
    table = pa.table(columns, schema=pa.schema(fields))
    return table, range(1, table.num_rows + 1)


def _open(path: Path, format: str) -> pa.Table:
    if format == "parquet":
        import pyarrow.parquet as pq  # imported here, since it is slow and only Parquet needs it

        file = pq.ParquetFile(path)  # not read_table, which would add columns from folder names
        if file.metadata.num_rows == 0:
            return file.read()
        table = pa.concat_tables(spilled(pa.Table.from_batches([each]) for each in file.iter_batches(BATCH)))
        return table.replace_schema_metadata(file.schema_arrow.metadata)
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def merged(
    tables: list[pa.Table], problems: list[str], names: list[str], places: Sequence[Sequence[int]]
) -> pa.Table | None:
    """Concatenate tables, int and float as float; a column of incompatible types is text then, and a `ColumnProblem`
    with file and row is added."""
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else None
    except pa.ArrowException:
        kinds: dict[str, tuple[pa.DataType, str]] = {}
        for table, name, rows in zip(tables, names, places, strict=True):
            for field in table.schema:
                if not pa.types.is_null(field.type):
                    at = next((at for at, value in enumerate(table[field.name]) if value.is_valid), 0)
                    kind, seen = kinds.setdefault(field.name, (field.type, f"{name}:{rows[at]}"))
                    if field.type != kind:
                        problem = f"{name}:{rows[at]}: {field.name!r} holds {field.type}, but {kind} at {seen}"
                        problems.append(ColumnProblem(problem, field.name))
        mixed = {problem.column for problem in problems if isinstance(problem, ColumnProblem)}
        try:
            return pa.concat_tables([_with_texts(table, mixed) for table in tables], promote_options="permissive")
        except pa.ArrowException:
            return None


def _with_texts(table: pa.Table, names: set[str]) -> pa.Table:
    for at, field in enumerate(table.schema):
        if field.name in names:
            texts = pa.array([_as_text(value) for value in table[field.name].to_pylist()], pa.string())
            table = table.set_column(at, field.name, texts)
    return table
