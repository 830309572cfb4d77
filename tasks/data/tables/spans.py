"""Converts character spans written as lists (`[[0, 5, "ORG"], …]`, doccano and spaCy), which Arrow cannot store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def as_spans(values: Sequence[Any]) -> list[Any] | None:
    """Convert `[start, end, label]` to `{start, end, label}` in every value; None if one has another form."""
    if any(value is not None and not (_is_list(value) and all(map(_is_span, value))) for value in values):
        return None
    names = ("start", "end", "label")
    return [None if value is None else [dict(zip(names, span, strict=True)) for span in value] for value in values]


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _is_span(span: Any) -> bool:
    return _is_list(span) and len(span) == 3 and [type(each) for each in span] == [int, int, str]
