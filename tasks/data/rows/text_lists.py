"""Parses lists written as text: `[1, 0, 0]`, `["a", "b"]`, `('a', 'b')`, numpy's `['a' 'b']`."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

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
NAMES = re.compile(
    rf"\[\s*(?:{QUOTED.pattern})(?:\s+(?:{QUOTED.pattern}))+\s*\]"
)  # ast.literal_eval would concatenate them
NUMBER = r"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan)"
NUMBERS = re.compile(rf"\[\s*{NUMBER}(?:\s+{NUMBER})*\s*\]")
DIGITS = re.compile(r"\[[-+\d.e\s]*\d\s+[-+\d.e\s]*\]")  # numbers without commas, well formed or not
REPR = re.compile(r"(?:np\.|torch\.)?(?:array|tensor)\((\[.*\])(?:,\s*\w+=[^()]*)?\)", re.DOTALL)
SCALAR = re.compile(r"\bnp\.\w+\(([^()]*)\)")  # how numpy 2 writes the values of a list: [np.int64(1)]
ELIDED = re.compile(r"[\[\s,(]\.\.\.[\s,]")
NULLS = ("nan", "NaN", "NAN", "None", "null", "<NA>")


def as_lists(table: pa.Table, name: str, field: str) -> pa.Table:
    """Return the table with column `name` parsed if its texts are lists; else unchanged.

    Raises:
        DataError: some texts are lists and some are not, or an array was printed without all of its values; names the
            rows.
    """
    column = table[name]
    if not pa.types.is_string(column.type):
        return table
    if not pc.any(pc.match_substring_regex(column, r"^\s*(?:(?:\w+\.)?\w+\()?[\[({](?s:.*)[\])}]\s*$")).as_py():
        return table
    texts = column.to_pylist()
    elided = [at for at, text in enumerate(texts) if text and _is_elided(text)]
    if elided:
        raise DataError(f"{field}: {count(len(elided), 'row')} whose {name!r} is an array printed with '...' (such as "
                        f"{texts[elided[0]]!r}), so its values are lost; write the file with complete lists "
                        f"(array.tolist()): {rows_at(table, elided)}")  # fmt: skip
    shown = next((text for text in texts if _is_sure(text)), None)
    if shown is None:
        return table
    values = [value_of(text) for text in texts]
    bad = [at for at, value in enumerate(values) if value is not None and not _is_flat(value)]
    if bad:
        raise DataError(f"{field}: {count(len(bad), 'row')} whose {name!r} is not a flat list as in other rows (like "
                        f"{shown!r}): {rows_at(table, bad)}")  # fmt: skip
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([list_array(values)]))


def list_array(values: Sequence[list[Any] | None]) -> pa.ListArray:
    """Return lists of int64, of float64, or, if a value is not a number, of strings. NaN becomes null."""
    values = [value and [None if each != each else each for each in value] for value in values]
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
    """Return the value of a text in brackets: a list (or a dict); other texts unchanged, blank ones None.

    Arrays as numpy and torch print them are lists; a text with malformed numbers (`[1.2.3 4]`) is unchanged.
    """
    if text is None or not text.strip():
        return None
    bare = _bare(text)
    if not _is_bracketed(bare):
        return text
    if NAMES.fullmatch(bare):
        return ["".join(each) for each in QUOTED.findall(bare)]
    for read, source in ((json.loads, bare), (ast.literal_eval, bare), (ast.literal_eval, SCALAR.sub(r"\1", bare))):
        try:
            value = read(source)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return sorted(value, key=str) if isinstance(value, set) else list(value) if isinstance(value, tuple) else value
    if not bare.startswith("["):
        return text
    if NUMBERS.fullmatch(bare):
        return [float(each) for each in bare[1:-1].split()]
    if DIGITS.fullmatch(bare):
        return text
    words = [each.strip() for each in bare[1:-1].split(",")]
    return [None if word in NULLS else word.strip("'\"") for word in words]


def _bare(text: str) -> str:
    """Return the text stripped, and without the `array(…)` that numpy and torch print around a list."""
    bare = text.strip()
    return found[1] if (found := REPR.fullmatch(bare)) else bare


def _is_elided(text: str) -> bool:
    """Whether a text is an array printed with `...` instead of some values."""
    bare = _bare(text)
    if "..." not in bare or not _is_bracketed(bare) or not ELIDED.search(QUOTED.sub("''", bare)):
        return False
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return True
    return False


def _is_flat(value: object) -> bool:
    return isinstance(value, list) and not any(isinstance(each, list | dict | tuple | set) for each in value)


def _is_bracketed(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] + bare[-1] in BRACKETS


def _is_sure(text: str | None) -> bool:
    """Whether a text is certainly a list: a word in brackets, `[POS]`, may be a plain name."""
    bare = _bare(text or "")
    return _is_bracketed(bare) and not re.fullmatch(r"\[[^\s,\d'\"\]]+\]", bare) and isinstance(value_of(bare), list)
