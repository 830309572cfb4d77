"""Several labels written as one text (`red,green`, `[1, 0, 0]`): split where that is beyond doubt or asked for."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.messages import first
from tasks.data.rows.text_lists import as_lists

SEPARATORS = (",", ";", "|")
NEVER = "none"
DECIMAL = re.compile(r"-?\d+(?:,\d+)?")


def split_labels(
    tables: Mapping[str, pa.Table], name: str, wanted: str | None, labels: Sequence[str] | None
) -> tuple[dict[str, pa.Table], str | None, list[str]]:
    """Tables in which the texts of the label column that hold several labels are lists of them.

    Args:
        wanted: `data.label_separator`. labels: the classes, where they are known.

    Returns:
        The tables, the separator the labels were split at (None: they were not), and what a user should know.

    Raises:
        DataError: texts that may be one label or several, which `data.label_separator` settles.
    """
    train = tables["train"][name]
    if wanted == NEVER or not pa.types.is_string(train.type):
        return dict(tables), None, []
    if wanted is None:
        listed = {split: as_lists(table, name, f"data.{split}") for split, table in tables.items()}
        if not pa.types.is_string(listed["train"][name].type):
            shown = next(text for text in train.to_pylist() if text and text.strip())
            return listed, None, [_told(f"lists written as text, such as {shown!r}")]
    values = [value for value in train.unique().to_pylist() if value and value.strip()]
    separator = wanted or _between_flags(values) or (_known(values, labels) if labels else _found(values))
    if separator is None:
        return dict(tables), None, [] if labels else _doubt(values)
    shown = next((value for value in values if separator in value), None)
    what = "zeros and ones" if shown and set(_parts(shown, separator)) <= {"0", "1"} else "names"
    told = [_told(f"several {what} joined by {separator!r}, such as {shown!r}")] if shown and wanted is None else []
    return {split: at_separator(table, name, separator) for split, table in tables.items()}, separator, told


def at_separator(table: pa.Table, name: str, separator: str) -> pa.Table:
    """The table with lists in place of the texts of column `name`: names without the spaces around them, each once."""
    if not pa.types.is_string(table[name].type):
        return table
    values = [_parts(text, separator) or None for text in table[name].to_pylist()]
    if len({len(value or "-") for value in values}) == 1 and all(set(value or "-") <= {"0", "1"} for value in values):
        lists = pa.array([[*map(int, value or ())] for value in values], pa.list_(pa.int64()))  # a flag a class
    else:
        lists = pa.array([value and [*dict.fromkeys(value)] for value in values], pa.list_(pa.string()))
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([lists]))


def _parts(text: str | None, separator: str) -> list[str]:
    return [part for part in (each.strip() for each in (text or "").split(separator)) if part]


def _between_flags(values: Sequence[str]) -> str | None:
    """The separator of zeros and ones, as many in each text; two by a comma may be a number with a fraction."""
    for separator in (" ", *SEPARATORS):
        rows = [_parts(value, separator) for value in values]
        width = len(rows[0]) if rows else 0
        flags = all(len(row) == width and set(row) <= {"0", "1"} for row in rows)
        if flags and width > (2 if separator == "," else 1):
            return separator
    return None


def _known(values: Sequence[str], labels: Sequence[str]) -> str | None:
    """The separator between classes that are known, where the texts themselves are not all among them."""
    known = set(labels)
    if set(values) <= known:
        return None
    return next((sep for sep in SEPARATORS if all(set(_parts(value, sep)) <= known for value in values)), None)


def _found(values: Sequence[str]) -> str | None:
    """The separator by which every name that is joined also stands in another text: alone, or joined with others."""
    for separator in SEPARATORS:
        joined = [value for value in values if len(_parts(value, separator)) > 1]
        if not joined:
            continue
        seen = Counter(part for value in values for part in set(_parts(value, separator)))
        often = {part for value in joined for part in _parts(value, separator) if seen[part] > 1}
        decimal = separator == "," and all(DECIMAL.fullmatch(value) for value in values)
        if not decimal and all(part in often for value in joined for part in _parts(value, separator)):
            return separator
        if often or decimal:
            raise DataError(
                f"data.train: labels such as {first([repr(value) for value in joined], 3)} may be several names joined "
                f"by {separator!r}, or {'numbers with a decimal comma' if decimal else 'one name each'}; set "
                f"data.label_separator: {separator!r} to split them, or {NEVER} to take each as one name"
            )
    return None


def _doubt(values: Sequence[str]) -> list[str]:
    for separator in SEPARATORS:
        joined = [repr(value) for value in values if len(_parts(value, separator)) > 1]
        if joined:
            return [f"data.train: {first(joined, 3)}: labels with {separator!r} in them are taken as one name each; "
                    f"data.label_separator: {separator!r} splits them"]  # fmt: skip
    return []


def _told(what: str) -> str:
    return (
        f"data.train: the labels are {what}: read as several labels a row (data.label_separator: {NEVER} takes each "
        "text as one name)"
    )
