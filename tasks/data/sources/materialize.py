"""Writes rows that arrive in batches to one Arrow file named by its content, with types that fit all rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.tables.odd_values import CONVERSION_ERRORS, odd_one
from tasks.data.tables.spans import as_spans

BATCH = 8192


def table_of(columns: Mapping[str, list[Any]], field: str, start: int) -> pa.Table:
    """Return Python values as a table.

    Args:
        field: the rows' field, for messages. start: the number of the first row.

    Raises:
        DataError: a column holds values of several kinds; names the first row that differs.
    """
    arrays = {}
    for name, values in columns.items():
        if str(name) in arrays:
            raise DataError(f"{field}: two columns have the name {str(name)!r}")
        try:
            arrays[str(name)] = pa.array(values, from_pandas=True)  # NaN among strings means a missing value
        except CONVERSION_ERRORS as error:
            if (spans := as_spans(values)) is not None:
                arrays[str(name)] = pa.array(spans)
                continue
            odd, other = odd_one(values)
            kinds = type(values[odd]).__name__, type(values[other]).__name__
            why = f"holds more than one kind: row {start + odd} is {kinds[0]}, row {start + other} {kinds[1]}"
            why = why if kinds[0] != kinds[1] else f"cannot be stored: row {start + odd}"
            raise DataError(f"{field}: column {name!r} {why} ({str(error).splitlines()[0]})") from error
    return pa.table(arrays)


def keep(tables: Iterable[pa.Table], cache: Path, name: str, field: str) -> Path:
    """Write tables one by one to an Arrow file in a folder named by its digest.

    Later tables may need wider types (only nulls at first, integers before floats): what was written is then read back
    and rewritten with the wider types. Only a few tables are in memory at a time.

    Raises:
        DataError: there are no rows, or later rows of a column have a type that is incompatible with earlier ones.
    """
    cache.mkdir(parents=True, exist_ok=True)
    parts: list[Path] = []
    try:
        schema, rows = _write(tables, cache, parts, field)
        if not rows or schema is None:
            raise DataError(f"{field}: there are no rows")
        if len(parts) > 1:
            parts.append(cache / f".{uuid4().hex}")
            _join(parts[:-1], schema, parts[-1])
        with parts[-1].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        target = cache / digest / f"{name}.arrow"
        target.parent.mkdir(exist_ok=True)
        parts[-1].replace(target)
        return target
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _write(tables: Iterable[pa.Table], cache: Path, parts: list[Path], field: str) -> tuple[pa.Schema | None, int]:
    """Write to a new file, added to `parts`, whenever the types widen; return the last schema and the row count."""
    schema: pa.Schema | None = None
    writer: Any = None
    rows = 0
    try:
        for table in tables:
            table = table.replace_schema_metadata(None)
            wider = table.schema if schema is None else _wider(schema, table.schema, field, rows + 1)
            if wider != schema:
                if writer is not None:
                    writer.close()
                parts.append(cache / f".{uuid4().hex}")
                writer, schema = pa.ipc.new_file(str(parts[-1]), wider), wider
            writer.write_table(_as(table, wider).combine_chunks())
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return schema, rows


def _wider(schema: pa.Schema, other: pa.Schema, field: str, start: int) -> pa.Schema:
    try:
        return pa.unify_schemas([schema, other], promote_options="permissive")
    except (pa.ArrowException, ValueError) as error:
        column = next((name for name in other.names if _incompatible(schema, other, name)), other.names[0])
        raise DataError(
            f"{field}: column {column!r} has type {other.field(column).type} from row {start} on, "
            f"{schema.field(column).type} before; remove it, or use one type"
        ) from error


def _incompatible(schema: pa.Schema, other: pa.Schema, name: str) -> bool:
    try:
        pa.unify_schemas([pa.schema([schema.field(name)]), pa.schema([other.field(name)])],
                         promote_options="permissive")  # fmt: skip
    except (pa.ArrowException, ValueError):
        return True
    return False


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if table.schema == schema:
        return table
    return pa.concat_tables([schema.empty_table(), table], promote_options="permissive")


def _join(parts: Iterable[Path], schema: pa.Schema, into: Path) -> None:
    with pa.ipc.new_file(str(into), schema) as writer:
        for table in _batches(parts):
            writer.write_table(_as(table, schema).combine_chunks())


def _batches(parts: Iterable[Path]) -> Iterator[pa.Table]:
    for part in parts:
        with pa.memory_map(str(part)) as source:
            file = pa.ipc.open_file(source)
            for at in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(at)])
