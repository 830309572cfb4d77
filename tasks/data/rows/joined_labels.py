"""Splits several labels written as one string (`red,green`, `[1, 0, 0]`) if that is certain or configured."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.data.rows.class_text import keys
from tasks.data.rows.joined_names import NEVER, SEPARATORS, WEAK, parts_of, quoted, raise_or_warn, shown
from tasks.data.rows.text_lists import as_lists

DECIMAL = re.compile(r"-?\d+(?:,\d+)?")
FLAGS = {"0": 0, "0.": 0, "0.0": 0, "false": 0, "1": 1, "1.": 1, "1.0": 1, "true": 1}
OTHERS = ("\t", "\n", "/", "+", "&", ":", "-", "_")
"""Separators at which strings are split only between 0/1 flags and between classes that `data.labels` lists."""


def split_labels(
    tables: Mapping[str, pa.Table], name: str, wanted: str | None, labels: Sequence[str] | None
) -> tuple[dict[str, pa.Table], str | None, list[str]]:
    """Split label strings that contain several labels into lists.

    Args:
        wanted: `data.label_separator`. labels: the classes, if they are known.

    Returns:
        The tables, the separator at which labels were split (None if they were not), and notices for the user.

    Raises:
        DataError: strings that may be one label or several, unless `data.label_separator` is set.
    """
    train = tables["train"][name]
    if wanted == NEVER:
        return dict(tables), None, []
    if not pa.types.is_string(train.type):
        return dict(tables), None, [] if labels else _of_typed(train)
    if wanted is None:
        listed = {split: as_lists(table, name, f"data.{split}") for split, table in tables.items()}
        if not pa.types.is_string((lists := listed["train"][name]).type):
            written = next(text for text in train.to_pylist() if text and text.strip())
            notices = [_split_notice(f"lists written as text, such as {written!r}")]
            return listed, None, notices + ([] if labels else _of_typed(lists))
    values = [value for value in train.unique().to_pylist() if value and value.strip()]
    separator = wanted or _between_flags(values) or (_known(values, labels) if labels else _found(values))
    if separator is None:
        return dict(tables), None, _unsplit(values, labels)
    joined = next((value for value in values if separator in value), None)
    what = "zeros and ones" if joined and _are_flags(parts_of(joined, separator)) else "names"
    notices = []
    if joined and wanted is None:
        notices = [_split_notice(f"several {what} joined by {quoted(separator)}, such as {joined!r}")]
    if not labels:
        parts = dict.fromkeys(part for value in values for part in parts_of(value, separator))
        notices += raise_or_warn([*parts], settled=wanted is not None)
    return {split: at_separator(table, name, separator) for split, table in tables.items()}, separator, notices


def at_separator(table: pa.Table, name: str, separator: str) -> pa.Table:
    """Return the table with the strings of column `name` replaced by lists of names, stripped and without repeats."""
    if not pa.types.is_string(table[name].type):
        return table
    values = [parts_of(text, separator) or None for text in table[name].to_pylist()]
    if len({len(value or "-") for value in values}) == 1 and all(_are_flags(value or ["-"]) for value in values):
        flags = [[FLAGS[each.lower()] for each in value or ()] for value in values]
        lists = pa.array(flags, pa.list_(pa.int64()))  # one flag per class
    else:
        lists = pa.array([value and [*dict.fromkeys(value)] for value in values], pa.list_(pa.string()))
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([lists]))


def _are_flags(parts: Sequence[str]) -> bool:
    return all(part.lower() in FLAGS for part in parts)


def _between_flags(values: Sequence[str]) -> str | None:
    """Return the separator of equally many zeros and ones per string; of two, `0,1` may be a number, `0:1` a score."""
    for separator in (" ", *SEPARATORS, *OTHERS):
        rows = [parts_of(value, separator) for value in values]
        width = len(rows[0]) if rows else 0
        flags = all(len(row) == width and _are_flags(row) for row in rows)
        if flags and width > (1 if separator in " ;|" else 2):
            return separator
    return None


def _known(values: Sequence[str], labels: Sequence[str]) -> str | None:
    """Return the separator between known classes, if not all strings are classes themselves. A part may be unknown
    (misspelt) beside known ones, if splitting does not increase the number of unknown names."""
    known = set(keys(labels))
    unknown_values = [value for value, key in zip(values, keys(values), strict=True) if key not in known]
    if not unknown_values:
        return None
    best: tuple[int, str] | None = None
    for separator in (*SEPARATORS, *OTHERS, " "):
        parts = [parts_of(value, separator) for value in unknown_values]
        flat = [*{part for each in parts for part in each}]
        unknown = {part for part, key in zip(flat, keys(flat), strict=True) if key not in known}
        some = any(len(each) > 1 and not set(each) <= unknown for each in parts)
        whole = any(len(each) > 1 and not unknown & set(each) for each in parts)
        most = len(unknown_values) if whole or separator not in WEAK else 0
        if some and len(unknown) <= most and (best is None or len(unknown) < best[0]):
            best = len(unknown), separator
    _refuse_mixed(unknown_values, known)
    return best[1] if best else None


def _found(values: Sequence[str]) -> str | None:
    """Return the separator for which every joined name also occurs in another string, alone or joined with others."""
    _refuse_mixed(values, None)
    for separator in SEPARATORS:
        joined = [value for value in values if len(parts_of(value, separator)) > 1]
        if not joined:
            continue
        seen = Counter(part for value in values for part in set(parts_of(value, separator)))
        often = {part for value in joined for part in parts_of(value, separator) if seen[part] > 1}
        decimal = separator == "," and all(DECIMAL.fullmatch(value) for value in values)
        if not decimal and all(part in often for value in joined for part in parts_of(value, separator)):
            return separator
        if often or decimal:
            raise DataError(
                f"data.train: labels such as {shown(joined)} may be several names joined by {separator!r}, or "
                f"{'numbers with a decimal comma' if decimal else 'one name each'}; set data.label_separator: "
                f"{separator!r} to split them, or {NEVER} to read each as one name"
            )
    return None


def _refuse_mixed(values: Sequence[str], known: set[str] | None) -> None:
    """Raise DataError for labels joined by several of the usual separators: if every name between them is known or, if
    the classes are not, occurs in another string too."""
    used = [separator for separator in SEPARATORS if any(len(parts_of(value, separator)) > 1 for value in values)]
    if len(used) < 2:
        return
    names = [parts_of(re.sub("[,;|]", used[0], value), used[0]) for value in values]
    seen = Counter(part for each in names for part in set(each))
    parts = {part for each in names if len(each) > 1 for part in each}
    if all(seen[part] > 1 for part in parts) if known is None else set(keys([*parts])) <= known:
        joined = [value for value in values if any(len(parts_of(value, separator)) > 1 for separator in used)]
        raise DataError(
            f"data.train: labels such as {shown(joined)} are joined by {' and '.join(map(repr, used))}; use one "
            f"separator, or set data.label_separator to the one that separates labels (the other stays in their "
            f"names), or to {NEVER} to read each text as one name"
        )


def _unsplit(values: Sequence[str], labels: Sequence[str] | None) -> list[str]:
    """Return warnings about strings that are read as one name each."""
    widths = {len(value) for value in values} if all(re.fullmatch("[01]{2,}", value) for value in values) else set()
    if labels and (widths != {len(labels)} or set(values) & set(labels)):
        return []
    if len(widths) == 1 and any(value[0] == "0" for value in values):
        raise DataError(
            f"data.train: labels such as {shown(values)} may be a 0 or 1 for each class, or one name each; separate "
            f"the digits (1 0 1) or write lists ([1, 0, 1]) to read them as several labels, or set "
            f"data.label_separator: {NEVER} to read each as one name"
        )
    return raise_or_warn(values) + _together(values)


def _of_typed(column: pa.ChunkedArray) -> list[str]:
    """Return warnings about labels in a column of integers, or of lists of names."""
    if pa.types.is_integer(column.type):
        return _together([str(value) for value in column.unique().to_pylist() if value is not None])
    if not pa.types.is_list(column.type) or not pa.types.is_string(column.type.value_type):
        return []
    names = pc.unique(column.combine_chunks().flatten()).to_pylist()
    return raise_or_warn([name for name in names if name], settled=True)


def _together(values: Sequence[str]) -> list[str]:
    """Warn of names that are at least three digits 0 and 1: they may be flags without a separator."""
    if not all(re.fullmatch("[01]+", value) for value in values) or max(map(len, values), default=0) < 3:
        return []
    return [f"data.train: {shown(values)}: labels of the digits 0 and 1 are read as one name each; if each digit is a "
            "class, write lists ([1, 0, 1])"]  # fmt: skip


def _split_notice(what: str) -> str:
    return (
        f"data.train: the labels are {what}: read as several labels per row (set data.label_separator: {NEVER} to read "
        "each text as one name)"
    )
