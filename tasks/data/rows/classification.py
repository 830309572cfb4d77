"""Rows of classification (one class or several per row) and regression (a number per row)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.check import Findings
from tasks.data.curation.preview import label_warnings
from tasks.data.messages import count, first, rows_at
from tasks.data.rows.class_text import missing_warnings
from tasks.data.rows.columns import Role, choose
from tasks.data.rows.joined_labels import split_labels
from tasks.data.rows.labels import as_numbers, encode_labels, is_real, label_names
from tasks.data.rows.multi_label import MultiLabel, gathered
from tasks.data.rows.prepare import Column, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.tables.class_names import names_in_order


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of `text-classification`. Lists of labels (also as text, or as several 0/1 columns) give multi-label
    classification, numbers with a fraction regression, everything else one class per row.

    See `tasks.data.rows.prepare.prepare`.
    """
    tables, data = gathered(tables, data)
    train = tables["train"]
    named = [name for name in train.column_names if not name.startswith("__")]
    name = choose(named, data.columns.model_dump(), roles)["label"]
    if names_in_order(train, name) is None:
        tables, separator, notices = split_labels(tables, name, data.label_separator, data.labels)
    else:  # a ClassLabel feature names the classes
        separator, notices = None, []
    prepared = _prepared(tables, data, roles, name, separator)
    prepared.warnings[:0] = notices
    return prepared


def _prepared(
    tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role], name: str, separator: str | None
) -> Prepared:
    label = tables["train"][name]
    if pa.types.is_list(label.type) or pa.types.is_large_list(label.type):
        return prepare_rows(tables, data, roles, MultiLabel(separator))
    if data.labels is None and is_real(label):
        prepared = prepare_rows(tables, data, roles, Number())
        prepared.warnings.append("data.train: the labels are numbers with fractions, so this is trained as regression")
        return prepared
    return prepare_rows(tables, data, roles, OneClass(listed=data.labels is not None))


def prepare_numbers(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of `regression`. See `tasks.data.rows.prepare.prepare`."""
    return prepare_rows(tables, data, roles, Number())


@dataclass(frozen=True)
class OneClass:
    """One of several classes per row; `problem_type` in the model's config is `single_label_classification`.

    Attributes:
        listed: whether `data.labels` is set; then each of its classes must have a row in train.
    """

    listed: bool = False
    texts: tuple[str, ...] = ("text", "text_pair")
    identity: tuple[str, ...] = ("text", "text_pair")
    target: str = "label"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        return Findings()

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        name = columns["label"]
        labels = label_names(train[name], data.labels, "data.train", train, names_in_order(train, name))
        return {"labels": labels, "problem_type": "single_label_classification"}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> pa.Array:
        return train[columns["label"]].combine_chunks()

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        return {"label": encode_labels(table[columns["label"]], head["labels"], field, table)}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        present = set(train["label"].unique().to_pylist())
        missing = [name for i, name in enumerate(head["labels"]) if i not in present]
        if missing and self.listed:
            raise DataError(
                f"data.labels: no row of train has the label {missing[0]!r}; remove it from data.labels, or add rows"
            )
        notices = [f"data.train: no row has these classes of the data set: {first(missing)}; the model has an output "
                "for each (set data.labels to leave them out)"] if missing else []  # fmt: skip
        notices += [] if self.listed else missing_warnings(head["labels"], "data.train")
        given = pa.chunked_array([pa.array(head["labels"]).take(train["label"].combine_chunks())])
        return notices + label_warnings(given, "data.train")


@dataclass(frozen=True)
class Number:
    """A number per row, as float32."""

    texts: tuple[str, ...] = ("text", "text_pair")
    identity: tuple[str, ...] = ("text", "text_pair")
    target: str = "label"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        values = self._numbers(table, columns)
        bad = np.flatnonzero(~np.isfinite(values))
        if not len(bad):
            return Findings()
        shown = table[columns["label"]][int(bad[0])].as_py()
        return Findings((
            f"{field}: {count(len(bad), 'row')} whose label is not a number (such as {shown!r}): {rows_at(table, bad)}",
        ))  # fmt: skip

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        values = self._numbers(train, columns)
        if len(np.unique(values)) < 2:
            raise DataError(
                f"data.train: every row has the label {values[0]:g}; regression needs at least two different values"
            )
        return {"labels": None, "problem_type": "regression"}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        return {"label": pa.array(self._numbers(table, columns).astype(np.float32))}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        return []

    def _numbers(self, table: pa.Table, columns: Mapping[str, str]) -> np.ndarray:
        return as_numbers(table[columns["label"]])
