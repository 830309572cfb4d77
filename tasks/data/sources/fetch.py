"""Fetches rows from hub datasets and databases into Arrow files named by their content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.config.sections.secrets import has_credentials, without_credentials
from tasks.data.messages import first, nearest
from tasks.data.sources.local_path import InvalidPath, local_path
from tasks.data.sources.materialize import BATCH, keep, table_of
from tasks.data.sources.query import escaped_text, one_select, read_only_engine, reading
from tasks.data.sources.url_variables import filled, unset
from tasks.data.tables.class_names import with_class_names

HF = re.compile(r"hf:(?P<name>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?$")

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class _Fetched:
    """What was fetched within one `fetching_once`: files by source and field, hub commits by source."""

    files: dict[tuple[str, str], Path] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)


_FETCHED: ContextVar[_Fetched | None] = ContextVar("fetched", default=None)


@contextmanager
def fetching_once() -> Iterator[None]:
    """Fetch each source only once within this context (and nested ones), so that a plan and a run see the same rows."""
    token = _FETCHED.set(_FETCHED.get() or _Fetched())
    try:
        yield
    finally:
        _FETCHED.reset(token)


def fetched(fetch: Callable[[str, str, Path], Path], spec: str, field: str, cache: Path) -> Path:
    """Return the file of a source from `fetch` (`from_hub` or `from_database`), or the one `fetching_once` cached."""
    known = _FETCHED.get()
    if known is None:
        return fetch(spec, field, cache)
    if (spec, field) not in known.files:
        known.files[spec, field] = fetch(spec, field, cache)
    return known.files[spec, field]


def commit_of(spec: str) -> str | None:
    """Return the commit of a hub source when it was fetched (see `fetching_once`); None for any other source."""
    known = _FETCHED.get()
    return known.commits.get(spec) if known else None


def from_hub(spec: str, field: str, cache: Path) -> Path:
    """Fetch `hf:name[:config][@revision][#split]` into an Arrow file; the default split is the field's name.

    Raises:
        ConfigError: the spec cannot be parsed. DataError: it cannot be fetched, or has no such split.
    """
    match = HF.match(spec)
    if match is None:
        raise ConfigError(f"{field}: {spec!r} is not hf:name[:config][@revision][#split]")
    import datasets
    from datasets.exceptions import DatasetsError

    split = match["split"] or field.rpartition(".")[2]
    datasets.disable_progress_bars()
    try:
        builder = datasets.load_dataset_builder(match["name"], match["config"], revision=match["revision"])
        builder.download_and_prepare()
        found: Any = builder.as_dataset()
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{field}: {spec!r} cannot be fetched: {reason}") from error
    if split not in found:
        known = [str(each) for each in found]
        near = nearest(split, known)
        raise DataError(f"{field}: {match['name']} has no split {split!r}; it has {', '.join(known)}{near}")
    if (session := _FETCHED.get()) and builder.hash and COMMIT.fullmatch(builder.hash):
        session.commits[spec] = builder.hash
    table = found[split].with_format("arrow")
    known = table.features.arrow_schema.metadata
    named = (with_class_names(each, known) for each in table.iter(BATCH))
    return keep(named, cache, f"{Path(match['name']).name}-{split}", field)


def from_database(spec: str, field: str, cache: Path) -> Path:
    """Fetch `sql:<SQLAlchemy URL>::<SELECT …>` into an Arrow file. `$NAME` in the URL is read from the environment, so
    that a config needs no password.

    Raises:
        ConfigError: the spec or the URL cannot be parsed, or has a password; the query is not one SELECT.
        DataError: the query fails.
    """
    written, found, query = spec.removeprefix("sql:").partition("::")
    if not found or not query.strip():
        raise ConfigError(f"{field}: {without_credentials(spec)!r} is not sql:<database URL>::<SELECT …>")
    if has_credentials(f"sql:{written}"):
        raise ConfigError(f"{field}: the URL has a password, which would be stored in records; use $NAME instead "
                          "and set it in the environment")  # fmt: skip
    url = filled(written)
    query = one_select(query, field, re.split(r"[:+]", url.url)[0].lower())
    if name := unset(written):
        raise ConfigError(f"{field}: ${name} in the database URL is not set in the environment")
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        target = make_url(url.url)
        url = replace(url, values=(*url.values, ("PASSWORD", str(target.password or ""))))
        if target.drivername.startswith("sqlite") and target.database and not _is_file(target.database):
            raise DataError(f"{field}: there is no database at {written!r}")
        with read_only_engine(target).connect() as connection:
            rows = reading(connection).execution_options(yield_per=BATCH).execute(escaped_text(query))
            names = list(rows.keys())
            if repeated := [repr(name) for name, times in Counter(names).items() if times > 1]:
                raise DataError(f"{field}: the query returns the column {first(repeated)} twice; rename one with AS")
            return keep(_tables(names, rows, field), cache, "query", field)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(f"{field}: the database URL cannot be used: {url.hide(str(error))}") from None
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DataError(f"{field}: the query fails: {url.hide(reason)}") from None


def _is_file(text: str) -> bool:
    try:
        return local_path(text).is_file()
    except InvalidPath:
        return False


def _tables(names: list[str], rows: Iterable[Any], field: str) -> Iterator[pa.Table]:
    rows, start = iter(rows), 1
    while some := list(islice(rows, BATCH)):
        yield table_of({name: [row[at] for row in some] for at, name in enumerate(names)}, field, start)
        start += len(some)
