"""Export of rows to Parquet, Arrow, JSON lines or CSV, batch by batch; an interrupted write leaves no file."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tasks.config.errors import ConfigError
from tasks.data.messages import nearest

KINDS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


class RowsFile:
    """Writes tables to `path` (None: JSON lines to stdout) as a context manager; after an error no file is left.

    Raises:
        ConfigError: unknown file extension, or the folder does not exist.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.rows = path, 0
        self._writer: Any = None
        if path is None:
            return
        if path.suffix.lower() not in KINDS:
            raise ConfigError(
                f"--output: {path.name!r} must end in one of {', '.join(KINDS)}{nearest(path.suffix, KINDS)}"
            )
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--output: the folder {str(path.parent)!r} does not exist")
        self._partial = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        kind = KINDS[self.path.suffix.lower()] if self.path is not None else "jsonl"
        table = _flat(table) if kind == "csv" else table
        if self._writer is None:
            self._writer = self._open(kind, table.schema)
        self._writer(table)

    def _open(self, kind: str, schema: pa.Schema) -> Callable[[pa.Table], None]:
        if self.path is None:
            self._sink: Any = None
            return lambda table: _lines(table, sys.stdout)
        if kind == "jsonl":
            self._sink = self._partial.open("w", encoding="utf-8")
            return lambda table: _lines(table, self._sink)
        makes: dict[str, Callable[[], Any]] = {
            "parquet": lambda: pq.ParquetWriter(self._partial, schema),
            "arrow": lambda: pa.ipc.new_file(str(self._partial), schema),
            "csv": lambda: pa_csv.CSVWriter(self._partial, schema),
        }
        self._sink = makes[kind]()
        return self._sink.write_table

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None or self._writer is None:
            return
        self._sink.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def _lines(table: pa.Table, sink: IO[str]) -> None:
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            sink.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _flat(table: pa.Table) -> pa.Table:
    """Convert lists to JSON strings, since CSV has no lists."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type):
            values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
            column = pa.array(values, pa.string())
        columns[name] = column
    return pa.table(columns)
