"""Rows that lie in no file (`datasets` repositories, databases), fetched into Arrow files named by their content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.say import nearest

BATCH = 8192
HF = re.compile(r"hf:(?P<name>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?$")


def from_hub(spec: str, field: str, cache: Path) -> Path:
    """`hf:name[:config][@revision][#split]` -> an Arrow file; the split is `train` unless the field is another's.

    Raises:
        ConfigError: the spec cannot be read. DataError: it cannot be fetched, or has no such split.
    """
    match = HF.match(spec)
    if match is None:
        raise ConfigError(f"{field}: {spec!r} is not hf:name[:config][@revision][#split]")
    import datasets
    from datasets.exceptions import DatasetsError

    split = match["split"] or field.rpartition(".")[2]
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(match["name"], match["config"], revision=match["revision"])
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{field}: {spec!r} cannot be fetched: {reason}") from error
    if split not in found:
        known = [str(each) for each in found]
        near = nearest(split, known)
        raise DataError(f"{field}: {match['name']} has no split {split!r}; it has {', '.join(known)}{near}")
    table = found[split].with_format("arrow")
    return keep((each for each in table.iter(BATCH)), cache, f"{Path(match['name']).name}-{split}")


def from_database(spec: str, field: str, cache: Path) -> Path:
    """`sql:<SQLAlchemy URL>::<SELECT …>` -> an Arrow file. `$NAME` in the URL is taken from the environment, so that no
    password needs to stand in a config.

    Raises:
        ConfigError: the spec or the URL cannot be read, or holds a password. DataError: the query fails.
    """
    url, found, query = spec.removeprefix("sql:").partition("::")
    if not found or not query.strip():
        raise ConfigError(f"{field}: {spec!r} is not sql:<database URL>::<SELECT …>")
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        if make_url(url if "$" not in url else "sqlite://").password:
            raise ConfigError(f"{field}: the URL holds a password, which would stand in records; write $NAME and set "
                              "it in the environment")  # fmt: skip
        target = make_url(os.path.expandvars(url))
        if target.drivername.startswith("sqlite") and target.database and not Path(target.database).is_file():
            raise DataError(f"{field}: there is no database {target.database!r}")
        with create_engine(target).connect() as connection:
            rows = connection.execution_options(stream_results=True, yield_per=BATCH).execute(text(query))
            return keep(_tables(list(rows.keys()), rows, field), cache, "query")
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(f"{field}: the database URL cannot be used: {error}") from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DataError(f"{field}: the query fails: {reason}") from error


def _tables(names: list[str], rows: Iterable[Any], field: str) -> Iterator[pa.Table]:
    rows = iter(rows)
    schema: pa.Schema | None = None
    while some := list(islice(rows, BATCH)):
        columns = {name: [row[at] for row in some] for at, name in enumerate(names)}
        try:
            table = pa.table(columns) if schema is None else pa.table(columns).cast(schema)
        except (pa.ArrowException, ValueError) as error:
            raise DataError(f"{field}: the query's columns are of more than one kind: {error}") from error
        schema = schema or table.schema
        yield table


def keep(tables: Iterable[pa.Table], cache: Path, name: str) -> Path:
    """Write tables of one schema, some rows at a time, as an Arrow file whose folder is named by its bytes."""
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{uuid4().hex}"
    try:
        rows = _write(tables, partial)
        if not rows:
            raise DataError(f"{name}: there are no rows")
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        target = cache / digest / f"{name}.arrow"
        target.parent.mkdir(exist_ok=True)
        partial.replace(target)
        return target
    finally:
        partial.unlink(missing_ok=True)


def _write(tables: Iterable[pa.Table], path: Path, plain: Callable[[pa.Table], pa.Table] = lambda table: table) -> int:
    writer, rows = None, 0
    with pa.OSFile(str(path), "wb") as sink:
        for table in tables:
            table = plain(table).replace_schema_metadata(None)
            writer = writer or pa.ipc.new_file(sink, table.schema)
            writer.write_table(table.combine_chunks())
            rows += table.num_rows
        if writer is not None:
            writer.close()
    return rows
