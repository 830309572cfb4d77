"""Phrases that every message about data shares: where the rows are, and what the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

FILE, ROW = "__file", "__row"
"""The lineage columns `read` adds: which file a row came from, and its 1-based line (or row) there."""

SHOWN = 5


def first(items: Sequence[str], shown: int = SHOWN) -> str:
    """The first `shown` items, and how many more there are: `a, b, c and 12 more`."""
    more = f" and {len(items) - shown:,} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def rows_at(table: pa.Table | None, rows: Sequence[int] | Any, shown: int = SHOWN) -> str:
    """The places of these 0-based rows: `train.csv:3, train.csv:9 and 4 more` (`row 3` where there is no lineage)."""
    head = [int(row) for row in rows[:shown]]
    if table is not None and FILE in table.column_names:
        places = [f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}" for row in head]
    else:
        places = [f"row {row + 1}" for row in head]
    more = f" and {len(rows) - shown:,} more" if len(rows) > shown else ""
    said = ", ".join(places) + more
    if (listeners := _LISTENERS.get()) is not None and table is not None:
        listeners.append(Told(said, table, [int(row) for row in rows]))
    return said


@dataclass(frozen=True)
class Told:
    """Rows that a message named: the words it named them with, their table, their positions in it."""

    said: str
    table: pa.Table
    rows: list[int]


_LISTENERS: ContextVar[list[Told] | None] = ContextVar("told_rows", default=None)


@contextmanager
def listening() -> Iterator[list[Told]]:
    """Hear of all rows that messages name within; a message names the first few, its listener gets all."""
    told: list[Told] = []
    token = _LISTENERS.set(told)
    try:
        yield told
    finally:
        _LISTENERS.reset(token)


def nearest(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'label'?`, or nothing where nothing known is near."""
    close = difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def count(number: int, noun: str) -> str:
    """`1 row`, `3,012 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
