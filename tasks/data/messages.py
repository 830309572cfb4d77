"""Parts of messages about data: where rows are, and suggestions of similar names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

FILE, ROW = "__file", "__row"
"""The lineage columns that `read` adds: a row's file, and its 1-based line (or row) there."""

SHOWN = 5


def first(items: Sequence[str], shown: int = SHOWN) -> str:
    """Return the first `shown` items and the number of others: `a, b, c and 12 more`."""
    more = f" and {len(items) - shown:,} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def rows_at(table: pa.Table | None, rows: Sequence[int] | Any, shown: int = SHOWN) -> str:
    """Return the places of these 0-based rows: `train.csv:3, train.csv:9 and 4 more` (`row 3` without lineage)."""
    head = [int(row) for row in rows[:shown]]
    if table is not None and FILE in table.column_names:
        places = [f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}" for row in head]
    else:
        places = [f"row {row + 1}" for row in head]
    more = f" and {len(rows) - shown:,} more" if len(rows) > shown else ""
    text = ", ".join(places) + more
    if (listeners := _LISTENERS.get()) is not None and table is not None:
        listeners.append(MentionedRows(text, table, [int(row) for row in rows]))
    return text


@dataclass(frozen=True)
class MentionedRows:
    """Rows mentioned in a message: its text for them, their table, their positions in it."""

    text: str
    table: pa.Table
    rows: list[int]


_LISTENERS: ContextVar[list[MentionedRows] | None] = ContextVar("told_rows", default=None)


@contextmanager
def collecting_rows() -> Iterator[list[MentionedRows]]:
    """Collect all rows that messages within this context refer to; a message itself lists only the first few."""
    mentioned: list[MentionedRows] = []
    token = _LISTENERS.set(mentioned)
    try:
        yield mentioned
    finally:
        _LISTENERS.reset(token)


def nearest(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'label'?` for the most similar name, or an empty string if none is similar."""
    close = difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def count(number: int, noun: str) -> str:
    """Return `1 row`, `3,012 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
