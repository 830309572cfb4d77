"""Checks of rows before training: missing text, duplicates, mixed labels, leakage."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.data.curation.row_keys import row_keys, rows_in
from tasks.data.messages import count, rows_at

SHOWN_FIELDS = 3

LABEL_ROLES = ("label", "labels")


@dataclass(frozen=True)
class Findings:
    """Errors end a run, warnings are reported; each is one sentence with the field, the count and the rows."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.errors + other.errors, self.warnings + other.warnings)

    def raise_if_any(self) -> None:
        """Raise one DataError that lists every error, so that all can be fixed at once."""
        if self.errors:
            raise DataError("\n".join(self.errors))


def check_rows(table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
    """Return errors for rows without a non-empty string in a text column (`columns` is `{role: column}`)."""
    errors: list[str] = []
    for role, name in _texts(columns).items():
        column = table[name]
        shown = f"column {name!r} (data.columns.{role})"
        missing = np.flatnonzero(column.is_null().to_numpy())
        if len(missing):
            errors.append(f"{field}: {count(len(missing), 'row')} with no value in {shown}: {rows_at(table, missing)}")
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            blank = _blank(column)
            if len(blank):
                errors.append(
                    f"{field}: {count(len(blank), 'row')} with empty text in {shown}: {rows_at(table, blank)}"
                )
        elif not pa.types.is_null(column.type):
            errors.append(
                f"{field}: {shown} holds {kind_of(column.type)}, not text: {rows_at(table, range(table.num_rows))}"
            )
    return Findings(errors=tuple(errors))


def kind_of(kind: pa.DataType) -> str:
    """Return an Arrow type's name in messages; of a struct with many fields, the first few."""
    if pa.types.is_struct(kind) and kind.num_fields > SHOWN_FIELDS:
        names = ", ".join(repr(kind.field(at).name) for at in range(SHOWN_FIELDS))
        return f"objects with {kind.num_fields} keys ({names}, …)"
    return str(kind)


def _blank(column: pa.ChunkedArray) -> np.ndarray:
    """Return rows of only whitespace; chunk by chunk, as trimming copies the text."""
    flags = [pc.fill_null(pc.equal(pc.utf8_trim_whitespace(chunk), ""), False) for chunk in column.chunks]
    found = [flag.to_numpy(zero_copy_only=False) for flag in flags]
    return np.flatnonzero(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def duplicates(table: pa.Table, columns: Mapping[str, str], field: str = "data.train") -> Findings:
    """Return warnings about exact duplicates of an earlier row, and equal texts with different labels."""
    warnings: list[str] = []
    texts = row_keys([table], list(_texts(columns).values()))[0]
    rows = row_keys([table], list(columns.values()))[0]
    _, firsts = np.unique(rows, return_index=True)
    repeats = np.setdiff1d(np.arange(len(rows)), firsts, assume_unique=True)
    if len(repeats):
        verb = "repeats" if len(repeats) == 1 else "repeat"
        warnings.append(
            f"{field}: {count(len(repeats), 'row')} {verb} an earlier one exactly: {rows_at(table, repeats)}"
        )
    # among distinct (text, label) rows, a text that occurs twice has two labels
    labels_of = np.bincount(texts[firsts]) if len(texts) else np.zeros(1, dtype=np.int64)
    conflicts = np.flatnonzero(labels_of[texts] > 1)
    if len(conflicts):
        shown = count(len(conflicts), "row")
        warnings.append(f"{field}: {shown} whose text also has a different label: {rows_at(table, conflicts)}")
    return Findings(warnings=tuple(warnings))


def leakage(train: pa.Table, other: pa.Table, columns: Mapping[str, str], name: str) -> Findings:
    """Warn of rows of `other` (the field `name`, such as `data.test`) with a text that is in `train` too, exactly."""
    leaked = seen_rows(train, other, columns)
    if not len(leaked):
        return Findings()
    share = 100 * len(leaked) / other.num_rows
    return Findings(
        warnings=(
            f"{name}: {count(len(leaked), 'row')} ({share:.1f} %) whose text is in the training data too: "
            f"{rows_at(other, leaked)}",
        )
    )


def seen_rows(train: pa.Table, other: pa.Table, columns: Mapping[str, str]) -> np.ndarray:
    """Return the positions of the rows of `other` with a text that is in `train` too, exactly."""
    return rows_in(train, other, list(_texts(columns).values()))


def _texts(columns: Mapping[str, str]) -> dict[str, str]:
    return {role: column for role, column in columns.items() if role not in LABEL_ROLES}
