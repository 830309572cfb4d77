"""Finds the value with a type that does not fit the others: Arrow only reports that there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

CONVERSION_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError)
"""Exceptions that Arrow raises for values that do not fit in one column."""


def odd_one(values: Sequence[Any]) -> tuple[int, int]:
    """Return the positions of the first value that does not fit in a column with the first non-null value, and of the
    latter; the same position twice for a value that Arrow cannot store at all."""
    known = [at for at, value in enumerate(values) if value is not None]
    for at in known:
        if not _fit([values[at]]):
            return at, at
    for at in known[1:]:
        if not _fit([values[known[0]], values[at]]):
            return at, known[0]
    return known[-1], known[0]


def _fit(values: list[Any]) -> bool:
    try:
        pa.array(values, from_pandas=True)
    except CONVERSION_ERRORS:
        return False
    return True
