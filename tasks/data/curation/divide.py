"""Splits one table at random, by group, by time, or by a hash of the row."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import DataError
from tasks.config.sections.data import SplitConfig
from tasks.data.curation.row_keys import row_keys
from tasks.data.curation.split import split_rows
from tasks.data.messages import FILE, ROW, count, nearest, rows_at
from tasks.data.rows.labels import as_numbers
from tasks.data.tables.spill import taken


def divide(
    table: pa.Table, stratum: pa.Array | None, rule: SplitConfig, validation: float, test: float, same: Sequence[str]
) -> dict[str, pa.Table]:
    """Return `{"train": …, "validation": …, "test": …}`; a share of 0 gives no table.

    A random split keeps rows of one group together: those equal in `rule.group_by`, by default those equal in the
    columns `same` (the text), so that no text is in two splits.

    Raises:
        DataError: no such column; a missing time; a split without rows.
    """
    if rule.time:
        parts = _by_time(table, _column(table, rule.time, "time"), rule.time, validation, test)
    elif rule.strategy == "hash":
        columns = [_known(table, rule.hash_by, "hash_by")] if rule.hash_by else list(same)
        parts = _by_hash(table, columns, validation, test)
    else:
        columns = [_known(table, rule.group_by, "group_by")] if rule.group_by else list(same)
        parts = _by_group(table, stratum, rule, columns, validation, test)
    for name, rows in parts.items():
        if not len(rows):
            raise DataError(
                f"data.split: {name} has no rows; change data.split.validation and data.split.test, or give more data"
            )
    return {name: taken(table, rows) for name, rows in parts.items()}


def _by_group(
    table: pa.Table, stratum: pa.Array | None, rule: SplitConfig, columns: Sequence[str], validation: float, test: float
) -> dict[str, np.ndarray]:
    groups = row_keys([table], list(columns))[0] if columns else np.arange(table.num_rows)
    _, firsts, of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if len(firsts) == table.num_rows:
        return split_rows(table, stratum, validation, test, rule.stratify, rule.seed)
    order = np.argsort(firsts, kind="stable")  # groups in the order of their first rows
    some, rank = firsts[order], np.argsort(order, kind="stable")
    label = stratum.take(pa.array(some)) if stratum is not None else None
    places = [name for name in (FILE, ROW) if name in table.column_names] or table.column_names[:1]
    units = table.select(places).take(pa.array(some))  # for counts and messages; other columns are not needed
    unit = f"{rule.group_by!r} group" if rule.group_by else "distinct text"
    parts = split_rows(units, label, validation, test, rule.stratify, rule.seed, unit)
    members = np.argsort(rank[of], kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes[order])])
    return {
        name: np.concatenate([members[starts[at] : starts[at + 1]] for at in rows]) if len(rows) else rows
        for name, rows in parts.items()
    }


def _by_time(
    table: pa.Table, column: pa.ChunkedArray, name: str, validation: float, test: float
) -> dict[str, np.ndarray]:
    """The latest rows are test, those before them validation; rows with the same time may be in different splits."""
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    missing = np.flatnonzero(column.is_null().to_numpy())
    if len(missing):
        raise DataError(f"data.split.time: {count(len(missing), 'row')} without a value in {name!r}: "
                        f"{rows_at(table, missing)}")  # fmt: skip
    if pa.types.is_string(column.type) and not np.isnan(numbers := as_numbers(column)).any():
        column = pa.chunked_array([numbers])  # numbers such as seconds or years, written as text
    order = pc.sort_indices(pa.table({"time": column}), sort_keys=[("time", "ascending")]).to_numpy()
    held = [int(table.num_rows * share + 0.5) for share in (validation, test)]
    edges = table.num_rows - sum(held), table.num_rows - held[1]
    parts = {"train": order[: edges[0]], "validation": order[edges[0] : edges[1]], "test": order[edges[1] :]}
    shares = {"train": 1.0, "validation": validation, "test": test}
    return {part: np.sort(rows) for part, rows in parts.items() if shares[part] > 0}


def _by_hash(table: pa.Table, columns: Sequence[str], validation: float, test: float) -> dict[str, np.ndarray]:
    """A row stays in its split when other rows are added or removed."""
    values = zip(*(pc.cast(table[name], pa.string()).to_pylist() for name in columns), strict=True)
    draws = np.fromiter((_draw(row) for row in values), dtype=np.float64, count=table.num_rows)
    held = {"test": draws < test, "validation": (draws >= test) & (draws < test + validation)}
    train = ~(held["test"] | held["validation"])
    masks = {"train": train, "validation": held["validation"], "test": held["test"]}
    shares = {"train": 1.0, "validation": validation, "test": test}
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if shares[name] > 0}


def _draw(row: Sequence[str | None]) -> float:
    text = "\x1f".join("" if value is None else value.strip() for value in row)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def _known(table: pa.Table, name: str, field: str) -> str:
    if name not in table.column_names:
        known = [each for each in table.column_names if not each.startswith("__")]
        raise DataError(f"data.split.{field}: there is no column {name!r}; the columns are {', '.join(known)}"
                        f"{nearest(name, known)}")  # fmt: skip
    return name


def _column(table: pa.Table, name: str, field: str) -> pa.ChunkedArray:
    return table[_known(table, name, field)]
