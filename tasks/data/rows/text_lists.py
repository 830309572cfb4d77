"""Lists that a file without types holds as text: `[1, 0, 0]`, `["a", "b"]`, `('a', 'b')`, numpy's `['a' 'b']`."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.data.messages import count, rows_at

BRACKETS = ("[]", "()", "{}")
QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
NAMES = re.compile(rf"\[\s*(?:{QUOTED.pattern})(?:\s+(?:{QUOTED.pattern}))+\s*\]")  # Python would join them to one
NUMBERS = re.compile(r"\[\s*(?:[-+]?[0-9.]+(?:e[-+]?\d+)?(?:\s+|(?=\s*\])))*\]")


def as_lists(table: pa.Table, name: str, field: str) -> pa.Table:
    """The table with lists in place of the texts of column `name`, where these are lists as text; else as it was.

    Raises:
        DataError: some of the texts are lists and some are not; names those rows.
    """
    column = table[name]
    if not pa.types.is_string(column.type):
        return table
    if not pc.any(pc.match_substring_regex(column, r"^\s*[\[({](?s:.*)[\])}]\s*$")).as_py():
        return table
    texts = column.to_pylist()
    shown = next((text for text in texts if _is_sure(text)), None)
    if shown is None:
        return table
    values = [value_of(text) for text in texts]
    bad = [at for at, value in enumerate(values) if value is not None and not _is_flat(value)]
    if bad:
        raise DataError(f"{field}: {count(len(bad), 'row')} whose {name!r} is not a flat list, as others are (such as "
                        f"{shown!r}): {rows_at(table, bad)}")  # fmt: skip
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([list_array(values)]))


def list_array(values: Sequence[list[Any] | None]) -> pa.ListArray:
    """Lists as Arrow holds them: whole numbers, numbers, or, where one value is neither, texts."""
    flat = [each for value in values for each in value or () if each is not None]
    numbers = all(isinstance(each, int | float) for each in flat) and bool(flat)
    if numbers and all(abs(each) < 2**53 for each in flat):
        whole = all(each == int(each) for each in flat)
        kind, cast = (pa.int64(), int) if whole else (pa.float64(), float)
    else:
        kind, cast = pa.string(), str
    return pa.array([None if value is None else [None if each is None else cast(each) for each in value]
                     for value in values], pa.list_(kind))  # fmt: skip


def value_of(text: str | None) -> Any:
    """What a text in brackets stands for: a list (or a dict); other texts as they are, blank ones None."""
    if text is None or not text.strip():
        return None
    bare = text.strip()
    if not _is_bracketed(bare):
        return text
    if NAMES.fullmatch(bare):
        return ["".join(each) for each in QUOTED.findall(bare)]
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(bare)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return sorted(value, key=str) if isinstance(value, set) else list(value) if isinstance(value, tuple) else value
    if not bare.startswith("["):
        return text
    if NUMBERS.fullmatch(bare):
        return [float(each) for each in bare[1:-1].split()]
    return [each.strip().strip("'\"") for each in bare[1:-1].split(",")]


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(each, list | dict | tuple | set) for each in value)


def _is_bracketed(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] + bare[-1] in BRACKETS


def _is_sure(text: str | None) -> bool:
    """Whether a text is a list beyond doubt: a name in brackets, `[POS]`, may be no more than a name."""
    bare = (text or "").strip()
    return _is_bracketed(bare) and not re.fullmatch(r"\[[^\s,\d'\"\]]+\]", bare) and isinstance(value_of(bare), list)
