"""Parses character positions as written in files: `3`, `3.0`, `"3"`."""

from __future__ import annotations

from typing import Any


def position(value: Any) -> int | None:
    """Return a position (from 0) written as an integer, a float without fraction, or text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and 0 <= number < 2**31 and not isinstance(value, bool) else None
