"""Checks, splits and encodes rows: the same steps for every task, with the task's definition of a row (`Kind`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.check import Findings, check_rows, duplicates, leakage, seen_rows
from tasks.data.curation.divide import divide
from tasks.data.curation.preview import class_counts, lengths, near_warnings, rendered, repeat_warnings, text_warnings
from tasks.data.curation.split import dedupe, sample, without
from tasks.data.rows.columns import Role, choose

LINEAGE = ("__file", "__row")

Head = dict[str, Any]
"""What the model's head needs: `labels` (class names by id, or None), `problem_type` (as in transformers, or None)."""

Column: TypeAlias = "pa.Array | pa.ChunkedArray"


@dataclass(frozen=True)
class Prepared:
    """Rows ready for tokenizing.

    Attributes:
        splits: tables with columns named by role (labels as ids), all other columns, and the lineage
            columns `__file` and `__row`.
        head: see `Head`.
        columns: the column of each role.
        warnings: about the data, which is not changed because of them.
        dropped: number of duplicate rows removed (`data.dedupe`).
        preview: `sample` (the first row), `classes` (rows of train per class), `words` (words per row: `median`,
            `p95`, `max`).
        seen: by split, the positions of rows whose text is in train too.
    """

    splits: dict[str, pa.Table]
    head: Head
    columns: dict[str, str]
    warnings: list[str]
    dropped: int
    preview: dict[str, Any]
    seen: dict[str, list[int]] = field(default_factory=dict)


class Kind(Protocol):
    """A task's definition of a row."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The roles that must have a non-empty string."""
        ...

    @property
    def identity(self) -> tuple[str, ...]:
        """The roles that are compared to find duplicate rows."""
        ...

    @property
    def target(self) -> str:
        """The role to predict, or an empty string."""
        ...

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        """Return errors and warnings about rows, besides missing text."""
        ...

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        """Return the head for these training rows."""
        ...

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> pa.Array | None:
        """Return the values to stratify a split by, one per row; None for no stratification."""
        ...

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        """Return the encoded columns by role: labels as ids."""
        ...

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        """Return warnings about the encoded training rows."""
        ...


def prepare(
    tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role], kind: Kind, answers: Sequence[str] = ()
) -> Prepared:
    """Check, split and encode `tables` (by split; at least `train`).

    Args:
        answers: roles that repeated rows have in common besides `kind.identity`: there may be several answers to a
            prompt.

    Raises:
        DataError: invalid rows, with file and line; a label that train does not have; fewer than two classes; a split
            without rows.
    """
    columns = choose(_names(tables["train"]), data.columns.model_dump(), roles)
    for name, table in tables.items():
        choose(_names(table), dict(columns), roles)
        field = f"data.{name}"
        (check_rows(table, _of(kind.texts, columns), field) + kind.check(table, columns, field)).raise_if_any()
    same = _of(kind.identity, columns)
    whole = same | _of(answers, columns)
    learnt = {"label": columns[kind.target]} if kind.target in columns else {}
    warnings = list(duplicates(tables["train"], whole | learnt).warnings)
    warnings += text_warnings(tables["train"], same, "data.train")
    dropped, given = 0, dict(tables)
    if data.dedupe == "exact":
        for name in given:
            given[name], gone = dedupe(given[name], list(whole.values()))
            dropped += gone
    head = kind.head(given["train"], columns, data)
    splits = _shares(given["train"], kind.stratum(given["train"], columns), data, given, list(same.values()))
    splits, leakage_warnings = _handle_leakage(splits, same, data, data.leakage or "warn")
    warnings += leakage_warnings
    if data.near_duplicates == "warn":
        warnings += repeat_warnings(splits["train"], {role: name for role, name in same.items() if role != "context"})
    if data.max_train_samples:
        splits["train"] = sample(splits["train"], data.max_train_samples, data.split.seed)
    others = {} if data.leakage == "off" else {name: table for name, table in splits.items() if name != "train"}
    seen = {name: seen_rows(splits["train"], table, same).tolist() for name, table in others.items()}
    coded = {
        name: renamed(table, columns, kind.code(table, columns, head, f"data.{name}"), roles)
        for name, table in splits.items()
    }
    warnings += kind.validate_encoded(coded["train"], head)
    preview = {
        "sample": rendered(splits["train"], columns),
        "classes": class_counts(coded["train"][kind.target], head["labels"]) if kind.target else {},
        "words": lengths(splits["train"], [*_of(kind.texts, columns).values()] or [*same.values()]),
    }
    return Prepared(
        coded, head, columns, warnings, dropped, preview, {name: rows for name, rows in seen.items() if rows}
    )


def _handle_leakage(
    splits: dict[str, pa.Table], same: Mapping[str, str], data: DataConfig, policy: str
) -> tuple[dict[str, pa.Table], list[str]]:
    """Apply `policy` to rows of validation and test that are in train too; return the splits and warnings.

    Raises:
        DataError: there are such rows and the policy is `error`, or train would be empty.
    """
    splits, warnings = dict(splits), []
    for name, table in splits.items():
        if name == "train":
            continue
        leaked = leakage(splits["train"], table, same, f"data.{name}").warnings if policy != "off" else ()
        if leaked and policy == "error":
            raise DataError(f"{leaked[0]}; set data.leakage: remove to drop them from train, or warn to keep them")
        if leaked and policy == "remove":
            before = splits["train"].num_rows
            splits["train"] = without(splits["train"], table, list(same.values()))
            leaked = (f"data.train: {before - splits['train'].num_rows} rows that are in {name} too were removed",)
        elif leaked:
            some = len(seen_rows(splits["train"], table, same)) < table.num_rows
            without_them = "; metrics that end in _unseen exclude them" if some else ""
            leaked = (f"{leaked[0]}{without_them}",)
        warnings += leaked
        if data.near_duplicates == "warn":
            compared = {
                role: column for role, column in same.items() if role != "context"
            }  # a context is shared by many questions
            warnings += near_warnings(splits["train"], table, compared, f"data.{name}")
    if not splits["train"].num_rows:
        raise DataError("data.leakage: remove leaves no row to train on: all of them are in validation or test")
    return splits, warnings


def _of(roles: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    return {role: columns[role] for role in roles if role in columns}


def _names(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in LINEAGE]


def _shares(
    train: pa.Table, stratum: pa.Array | None, data: DataConfig, given: Mapping[str, pa.Table], same: Sequence[str]
) -> dict[str, pa.Table]:
    """Return splits given as files unchanged, and the others as shares of train."""
    validation = 0.0 if "validation" in given else data.split.validation or 0.0
    test = 0.0 if "test" in given else data.split.test
    if not validation and not test:
        return dict(given)
    parts = divide(train, stratum, data.split, validation, test, same)
    return parts | {name: table for name, table in given.items() if name != "train"}


def renamed(
    table: pa.Table, columns: Mapping[str, str], coded: Mapping[str, Column], roles: Sequence[Role] = ()
) -> pa.Table:
    """Return the table with columns named by role. A column with the name of one of the task's `roles` that is not the
    role's column is renamed to `<name>_column`, so that later steps do not confuse them."""
    by_column = {column: role for role, column in columns.items()}
    taken = {*columns, *coded, *(role.name for role in roles)}
    arrays: list[Column] = []
    names: list[str] = []
    for name in table.column_names:
        role = by_column.get(name)
        arrays.append(coded.get(role or "", table[name]))
        names.append(role or (f"{name}_column" if name in taken else name))
    for role, column in coded.items():
        if role not in names:
            arrays.append(column)
            names.append(role)
    return pa.table(arrays, names=names)
