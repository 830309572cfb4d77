"""One parser per file format: a file's content -> Arrow columns and the line (or row) each record stands on.

A parser does not stop at the first bad record: it adds `file:line: what is wrong` to `problems` and goes on, so that
a reading can report them together. CSV (`parse_delimited`) and JSON pass through Python in batches: their records need
exact line numbers and exact complaints, and pyarrow's readers swallow an unclosed quote, read dates out of text, and
name no lines.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.data.messages import first
from tasks.data.sources.text_file import Text, unmarked
from tasks.data.tables.class_names import field_of, with_class_names
from tasks.data.tables.odd_values import UNFIT, odd_one
from tasks.data.tables.plain_types import plain
from tasks.data.tables.spans import as_spans
from tasks.data.tables.spill import BATCH, spilled

COLUMNS = 10_000  # more are no table, but one written with its rows as columns
BLANK = re.compile(r"[ \t\r\n]*")

Parsed = tuple[pa.Table, Sequence[int]]


def json_objects(name: str, text: Text, problems: list[str]) -> Parsed | None:
    """An array of objects (records counted by row; held whole) or one object a line (by line; read piece by piece).
    Keys a record lacks are null."""
    if text.is_blank():
        problems.append(f"{name} is empty")
        return None
    whole = text.head().lstrip().startswith("[")
    return records_table(
        name, _elements(name, text.read(), problems) if whole else _lines(name, text, problems), problems
    )


def records_table(name: str, records: Iterator[tuple[int, Any]], problems: list[str]) -> Parsed | None:
    """A table of `(place, record)` pairs: all keys of all records, null where a record lacks one."""
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise RepeatedKey(f"an object has the key {key!r} twice")
    return found


class RepeatedKey(ValueError):
    """Of an object's values for one key, Python's `json` keeps the last and says nothing."""


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _lines(name: str, text: Text, problems: list[str]) -> Iterator[tuple[int, Any]]:
    with text.open() as file:
        for number, line in enumerate(unmarked(file), 1):
            if not line.strip():
                continue
            try:
                value = DECODER.decode(line.rstrip())
            except json.JSONDecodeError as error:
                problems.append(f"{name}:{number}: broken JSON: {error.msg} at column {error.colno}")
            except (ValueError, RecursionError) as error:
                problems.append(f"{name}:{number}: JSON that cannot be read: {error}")
            else:
                yield number, value


def _elements(name: str, text: str, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """One element after the other, so that the whole file is never a list of Python objects."""
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
        problems.append(f"{name}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}:{row + 1}: JSON that cannot be read: {error}")


def _after(text: str, at: int) -> int:
    """The position of what follows blanks."""
    gap = BLANK.match(text, at)
    return gap.end() if gap else at


def _columns(name: str, records: list[tuple[int, dict[str, Any]]], problems: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    places = [place for place, _ in records]
    for key, place in _keys(records).items():
        if len(columns) == COLUMNS:
            problems.append(f"{name}:{place}: at most {COLUMNS:,} columns are read: {key!r} is one too many")
            break
        column = column_of(name, key, [record.get(key) for _, record in records], places, problems)
        if column is not None:
            columns[key] = column
    return pa.table(columns)


def column_of(name: str, key: str, values: list[Any], places: Sequence[int], problems: list[str]) -> pa.Array | None:
    """Values of JSON as a column; None, and a problem, where one is of another kind than those before it."""
    try:
        key.encode()  # half a character of two is no name
        return pa.array(values)
    except UNFIT as error:
        if (spans := as_spans(values)) is not None:
            return pa.array(spans)
        problems.append(_odd_one(name, key, places, values, error))
        return None


def _keys(records: list[tuple[int, dict[str, Any]]]) -> dict[str, int]:
    """All keys, in order, and where each stands first."""
    found: dict[str, int] = {}
    for place, record in records:
        for key in record:
            found.setdefault(key, place)
    return found


def _odd_one(name: str, key: str, places: Sequence[int], values: list[Any], error: Exception) -> str:
    odd, other = odd_one(values)
    kinds = kind_of(values[odd]), kind_of(values[other])
    if odd != other and kinds[0] != kinds[1]:
        return f"{name}:{places[odd]}: {key!r} is {kinds[0]}, but {kinds[1]} at {name}:{places[other]}"
    return f"{name}:{places[odd]}: {key!r} cannot be kept: {str(error).splitlines()[0]}"


def kind_of(value: object) -> str:
    """What a value of JSON is called in messages."""
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
    if repeated := [column for column, times in Counter(table.column_names).items() if times > 1]:
        problems.append(f"{name}: has the column {first([repr(column) for column in repeated])} twice")
        return None
    columns = [plain(column) for column in table.columns]
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


def merged(
    tables: list[pa.Table], problems: list[str], names: list[str], places: Sequence[Sequence[int]]
) -> pa.Table | None:
    """The tables below one another, int and float meeting as float; else a problem names file, row and column."""
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
                        problems.append(f"{name}:{rows[at]}: {field.name!r} holds {field.type}, but {kind} at {seen}")
        return None
