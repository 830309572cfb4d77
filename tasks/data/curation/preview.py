"""Preview of rows before training: warnings about labels and texts, lengths, a sample row."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.curation.near_duplicates import near_repeats, near_rows
from tasks.data.messages import count, first, rows_at

FEW = 8  # rows per class; fewer are hard to learn
SKEW = 20  # ratio of rows in the largest and the smallest class
SHOWN = 60  # characters of a value in a sample row
MOJIBAKE = r"\x{FFFD}|Ã[\x{0080}-\x{00BF}©¨¼¶¤Ÿ]|â€[™œ\x{009D}“”]"


def label_warnings(label: pa.ChunkedArray, field: str) -> list[str]:
    """Return warnings about classes: few rows, imbalance, names that differ only in case or spaces, gaps in numbers."""
    counts = {each["values"]: each["counts"] for each in label.value_counts().to_pylist() if each["values"] is not None}
    if len(counts) < 2:
        return []
    found, rare = [], sorted((name for name in counts if counts[name] < FEW), key=lambda name: counts[name])
    if rare:
        shown = first([f"{name!r} ({counts[name]})" for name in rare])
        found.append(f"{field}: {len(rare)} of {len(counts)} classes have fewer than {FEW} rows: {shown}")
    most, least = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[most] >= SKEW * counts[least]:
        found.append(
            f"{field}: the classes are imbalanced: {most!r} has {counts[most]} rows, {least!r} {counts[least]}; "
            "compare f1_macro, not accuracy"
        )
    names: dict[str, list[str]] = {}
    for name in counts:
        names.setdefault(str(name).strip().casefold(), []).append(str(name))
    alike = [each for each in names.values() if len(each) > 1]
    if alike:
        shown = first([" and ".join(map(repr, sorted(each))) for each in alike])
        found.append(f"{field}: labels that differ only by case or spaces are separate classes: {shown}")
    if all(re.fullmatch(r"-?\d+", str(name)) for name in counts):
        numbers = {int(name) for name in counts}
        gaps = sorted(set(range(min(numbers), max(numbers))) - numbers) if max(numbers) - min(numbers) < 10_000 else []
        if gaps and len(gaps) <= 3 * len(counts):
            shown = first([str(gap) for gap in gaps])
            found.append(
                f"{field}: the labels are numbers with gaps (no {shown}); each is a class name, so gaps are valid "
                "unless a class is missing"
            )
    return found


def text_warnings(table: pa.Table, columns: Mapping[str, str], field: str) -> list[str]:
    """Return warnings about texts: signs of a wrong encoding, control characters, HTML tags."""
    found = []
    for name in columns.values():
        column = table[name]
        if not pa.types.is_string(column.type):
            continue
        for what, pattern in (
            ("signs of a wrong encoding (such as â€™ or U+FFFD)", MOJIBAKE),
            ("control characters", r"[\x00-\x08\x0B\x0C\x0E-\x1F]"),
            ("HTML tags", r"</?(?:br|p|div|span|a|b|i|li|ul|td|tr|table|font|h[1-6])\b[^>]*>"),
        ):
            bad = np.flatnonzero(pc.fill_null(pc.match_substring_regex(column, pattern), False).to_numpy())
            if len(bad):
                found.append(f"{field}: {count(len(bad), 'row')} with {what} in {name!r}: {rows_at(table, bad)}")
    return found


def near_warnings(train: pa.Table, other: pa.Table, columns: Mapping[str, str], name: str) -> list[str]:
    """Warn of rows of `other` (the split `name`) that are near-duplicates of a row of train."""
    texts = [column for column in columns.values() if pa.types.is_string(train[column].type)]
    if not texts or not train.num_rows or not other.num_rows:
        return []
    near = near_rows(train, other, texts)
    if not len(near):
        return []
    share = 100 * len(near) / other.num_rows
    return [f"{name}: {count(len(near), 'row')} ({share:.1f} %) whose text nearly repeats one of train: "
            f"{rows_at(other, near)}"]  # fmt: skip


def repeat_warnings(train: pa.Table, columns: Mapping[str, str], name: str = "data.train") -> list[str]:
    """Warn of near-duplicates within train; for a large table, only a sample is compared, with its size reported."""
    texts = [column for column in columns.values() if pa.types.is_string(train[column].type)]
    if not texts or train.num_rows < 2:
        return []
    near, looked = near_repeats(train, texts)
    if not len(near):
        return []
    among = f" of {looked:,} compared" if looked < train.num_rows else ""
    return [f"{name}: {count(len(near), 'row')}{among} whose text nearly repeats an earlier one: "
            f"{rows_at(train, near)}"]  # fmt: skip


def lengths(table: pa.Table, columns: Sequence[str]) -> dict[str, int]:
    """Return words per row (all text columns together): `median`, 95th percentile (`p95`), `max`."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for name in columns:
        column = table[name]
        if pa.types.is_string(column.type):
            total += pc.fill_null(pc.add(pc.count_substring_regex(column, r"\s+"), 1), 0).to_numpy()
        elif pa.types.is_list(column.type):
            total += pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    if not len(total):
        return {}
    middle, high = np.percentile(total, [50, 95])
    return {"median": int(middle), "p95": int(high), "max": int(total.max())}


def class_counts(label: pa.ChunkedArray, names: Sequence[str] | None) -> dict[str, int]:
    """Return rows per class (words per tag), from a column of class ids, of lists of ids, or of lists with one flag per
    class; empty without classes."""
    if not names:
        return {}
    flat = label.combine_chunks()
    if pa.types.is_list(flat.type):
        flat = flat.flatten()
    if pa.types.is_floating(flat.type):
        counts = flat.to_numpy().reshape(-1, len(names)).sum(axis=0)
    else:
        counts = np.bincount(flat.to_numpy(), minlength=len(names))
    return {name: int(number) for name, number in zip(names, counts, strict=True)}


def rendered(table: pa.Table, columns: Mapping[str, str]) -> dict[str, object]:
    """Return the first row as `{role (column): value}`, with its file and line."""
    row = {f"{role} ({column})" if role != column else role: _short(table[column][0].as_py())
           for role, column in columns.items()}  # fmt: skip
    return {"row": rows_at(table, [0]), **row}


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
