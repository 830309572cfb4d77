"""Rows of single-label classification: checked, split, with class ids in place of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.check import check_rows, duplicates, leakage
from tasks.data.columns import Role, choose
from tasks.data.labels import encode_labels, label_names
from tasks.data.split import dedupe, sample, split

LINEAGE = ("__file", "__row")


@dataclass(frozen=True)
class Prepared:
    """Rows ready for tokenizing.

    Attributes:
        splits: tables with the roles' columns under the roles' names (`label` as int64 class id), all other columns
            under their own, and the lineage columns `__file` and `__row`.
        labels: class names by id.
        columns: which column served as which role.
        warnings: what a user should know of the data; nothing was changed because of them.
        dropped: repeats left out (`data.dedupe`).
    """

    splits: dict[str, pa.Table]
    labels: list[str]
    columns: dict[str, str]
    warnings: list[str]
    dropped: int


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Check and split `tables` (by split; at least `train`).

    Raises:
        DataError: listing every kind of bad row with file and line; or a label that training has not seen, one class
            only, a split left without rows.
    """
    columns = choose(_names(tables["train"]), data.columns.model_dump(), roles)
    for name, table in tables.items():
        choose(_names(table), dict(columns), roles)
        check_rows(table, columns, f"data.{name}").raise_if_any()
    warnings = list(duplicates(tables["train"], columns).warnings)
    dropped = 0
    texts = [columns[role] for role in ("text", "text_pair") if role in columns]
    given = dict(tables)
    if data.dedupe == "exact":
        for name in given:
            given[name], gone = dedupe(given[name], texts)
            dropped += gone
    train = given["train"]
    labels = label_names(train[columns["label"]], data.labels, "data.train", train)
    splits = _shares(train, columns["label"], data, given)
    if data.max_train_samples:
        splits["train"] = sample(splits["train"], data.max_train_samples, data.split.seed)
    for name, table in splits.items():
        if name != "train":
            warnings += leakage(splits["train"], table, columns, name).warnings
    coded = {name: _coded(table, columns, labels, f"data.{name}") for name, table in splits.items()}
    _require_classes(coded["train"], labels)
    return Prepared(coded, labels, columns, warnings, dropped)


def _names(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in LINEAGE]


def _shares(train: pa.Table, label: str, data: DataConfig, given: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Files the user gave are splits as they are, in their order; the others are shares of train."""
    validation = 0.0 if "validation" in given else data.split.validation
    test = 0.0 if "test" in given else data.split.test
    if not validation and not test:
        return dict(given)
    parts = split(train, train[label].combine_chunks(), validation, test, data.split.stratify, data.split.seed)
    return parts | {name: table for name, table in given.items() if name != "train"}


def _coded(table: pa.Table, columns: Mapping[str, str], labels: list[str], field: str) -> pa.Table:
    ids = encode_labels(table[columns["label"]], labels, field, table)
    by_column = {column: role for role, column in columns.items()}
    arrays, names = [], []
    for name in table.column_names:
        role = by_column.get(name)
        arrays.append(ids if role == "label" else table[name])
        names.append(role or (f"{name}_column" if name in columns else name))
    return pa.table(arrays, names=names)


def _require_classes(train: pa.Table, labels: list[str]) -> None:
    present = set(train["label"].unique().to_pylist())
    if missing := [name for i, name in enumerate(labels) if i not in present]:
        raise DataError(f"data.labels: {missing[0]!r} has no row in train; leave it out, or give rows with it")
