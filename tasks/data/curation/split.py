"""Stratified split of one table into train, validation and test, with the same rows on every machine."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.curation.row_keys import row_keys
from tasks.data.messages import count, rows_at
from tasks.data.tables.spill import taken

SPLITS = ("train", "validation", "test")


def split(
    table: pa.Table, label: pa.Array | None, validation: float, test: float, stratify: bool, seed: int
) -> dict[str, pa.Table]:
    """Return `{"train": …, "validation": …, "test": …}`; a share (0 to 1, of all rows) of 0 gives no table.

    With `stratify` and `label` (one value per row) each class is divided by largest remainder, and every class is
    in every split if it has enough rows. Rows are shuffled. Raises DataError for a split without rows or a class with
    fewer rows than there are splits.
    """
    parts = split_rows(table, label, validation, test, stratify, seed)
    return {name: taken(table, rows) for name, rows in parts.items()}


def split_rows(
    table: pa.Table,
    label: pa.Array | None,
    validation: float,
    test: float,
    stratify: bool,
    seed: int,
    unit: str = "row",
) -> dict[str, np.ndarray]:
    """Return the rows (positions in `table`) of each part; see `split`. `unit` is the word for a row in messages."""
    totals = _totals(table.num_rows, validation, test, unit)
    # raw 64-bit draws, not Generator.permutation: numpy keeps these the same across versions, not that method
    bits = np.random.PCG64(seed)
    order = np.argsort(bits.random_raw(table.num_rows), kind="stable")
    codes = _codes(label) if stratify and label is not None else np.zeros(table.num_rows, dtype=np.int64)
    sizes = np.bincount(codes)
    if stratify and label is not None:
        _refuse_rare(table, label, codes, sizes, int((totals > 0).sum()), unit)
    dealt = _deal(sizes, totals)
    by_class = order[np.argsort(codes[order], kind="stable")]
    # per class: as many rows for train, then for validation, then for test, as in `dealt`
    split_of = np.repeat(np.tile(np.arange(len(SPLITS)), len(sizes)), dealt.ravel())
    again = bits.random_raw(table.num_rows)
    parts = {name: by_class[split_of == at] for at, name in enumerate(SPLITS) if totals[at]}
    return {name: rows[np.argsort(again[rows], kind="stable")] for name, rows in parts.items()}


def sample(table: pa.Table, rows: int, seed: int) -> pa.Table:
    """Return at most `rows` rows drawn at random (files are often sorted by label), in their original order."""
    drawn = np.argsort(np.random.PCG64(seed).random_raw(table.num_rows), kind="stable")[:rows]
    return taken(table, np.sort(drawn))


def dedupe(table: pa.Table, columns: list[str]) -> tuple[pa.Table, int]:
    """Return the first of each group of rows equal in `columns` (ignoring outer whitespace), and the number removed."""
    keys = row_keys([table], columns)[0]
    kept = np.sort(np.unique(keys, return_index=True)[1])
    return taken(table, kept), table.num_rows - len(kept)


def without(table: pa.Table, other: pa.Table, columns: list[str]) -> pa.Table:
    """Return the rows of `table` that are not in `other` by `columns`, in their original order."""
    keys, gone = row_keys([table, other], columns)
    return taken(table, np.flatnonzero(~np.isin(keys, gone)))


def _totals(rows: int, validation: float, test: float, unit: str) -> np.ndarray:
    held = [math.floor(rows * share + 0.5) for share in (validation, test)]
    totals = np.array([rows - sum(held), *held], dtype=np.int64)
    for name, share, total in zip(SPLITS, (1 - validation - test, validation, test), totals, strict=True):
        if total <= 0 and (share > 0 or name == "train"):
            raise DataError(
                f"data.split: {share:.3g} of {count(rows, unit)} leaves none for {name}; "
                "change data.split.validation and data.split.test, or give more data"
            )
    return totals


def _codes(label: pa.Array) -> np.ndarray:
    return label.dictionary_encode().indices.to_numpy().astype(np.int64)


def _refuse_rare(
    table: pa.Table, label: pa.Array, codes: np.ndarray, sizes: np.ndarray, splits: int, unit: str
) -> None:
    for code in np.flatnonzero(sizes < splits)[:1]:
        rows = np.flatnonzero(codes == code)
        raise DataError(
            f"data.split: the class {label[int(rows[0])].as_py()!r} has {count(len(rows), unit)} for {splits} splits: "
            f"{rows_at(table, rows)}; add rows, remove the class, or set data.split.stratify: false"
        )


def _deal(sizes: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return rows per (class, split): row sums are `sizes`, column sums `totals`, each cell near its exact share."""
    exact = sizes[:, None] * totals[None, :] / sizes.sum()
    dealt = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - dealt), axis=None, kind="stable")
    while (left := sizes - dealt.sum(axis=1)).any():
        room = totals - dealt.sum(axis=0)
        for at in order:
            name, part = divmod(int(at), len(totals))
            if left[name] and room[part]:
                dealt[name, part] += 1
                left[name] -= 1
                room[part] -= 1
    _spread(dealt, totals)
    return dealt


def _spread(dealt: np.ndarray, totals: np.ndarray) -> None:
    """Swap single rows, keeping the sums, until each class is in each split if it has enough rows."""
    for name, part in np.argwhere((dealt == 0) & (totals > 0)):
        donor = int(dealt[name].argmax())
        other = int(dealt[:, part].argmax())
        if dealt[name, donor] > 1 and dealt[other, part] > 1:
            dealt[name, donor] -= 1
            dealt[name, part] += 1
            dealt[other, part] -= 1
            dealt[other, donor] += 1
