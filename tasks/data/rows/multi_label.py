"""Rows of multi-label classification: lists of names, lists of 0 and 1, or one 0/1 column per class."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import ConfigError, DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.check import Findings
from tasks.data.messages import FILE, ROW, count, first, nearest, rows_at
from tasks.data.rows.class_text import declared, missing_warnings
from tasks.data.rows.labels import as_numbers, encode_labels, label_names
from tasks.data.rows.prepare import Column, Head
from tasks.data.tables.class_names import names_in_order

GATHERED = "labels"


def gathered(tables: Mapping[str, pa.Table], data: DataConfig) -> tuple[dict[str, pa.Table], DataConfig]:
    """Combine several 0/1 columns (`data.columns.label: [a, b, c]`) into one column with the list of names set to 1.

    Raises:
        DataError: no such column, or a value other than 0 and 1 (or true and false).
    """
    wanted = data.columns.label
    if not isinstance(wanted, list):
        return dict(tables), data
    done = {}
    for split, table in tables.items():
        for name in wanted:
            if name not in table.column_names:
                raise DataError(f"data.columns.label: data.{split} has no column {name!r}"
                                f"{nearest(name, table.column_names)}")  # fmt: skip
        flags = np.stack([_flags(table, name, f"data.{split}") for name in wanted], axis=1)
        offsets = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int32)
        values = pa.array(wanted).take(pa.array(np.nonzero(flags)[1]))
        name = GATHERED if GATHERED not in table.column_names else f"{GATHERED}_of_row"
        done[split] = table.append_column(name, pa.ListArray.from_arrays(pa.array(offsets), values))
    columns = data.columns.model_copy(update={"label": done["train"].column_names[-1]})
    return done, data.model_copy(update={"columns": columns, "labels": data.labels or wanted})


def _flags(table: pa.Table, name: str, field: str) -> np.ndarray:
    column = table[name]
    if pa.types.is_string(column.type):  # as pandas writes booleans
        for flag, words in (("1", ["true", "True", "TRUE"]), ("0", ["false", "False", "FALSE"])):
            column = pc.if_else(pc.is_in(column, value_set=pa.array(words)), flag, column)
    values = as_numbers(column)
    bad = np.flatnonzero(~np.isin(values, (0.0, 1.0)))
    if len(bad):
        raise DataError(f"{field}: {count(len(bad), 'row')} whose {name!r} is neither 0 nor 1: {rows_at(table, bad)}")
    return values.astype(bool)


@dataclass(frozen=True)
class MultiLabel:
    """Any number of classes per row, including none.

    Attributes:
        separator: the separator at which texts were split into labels; None if they were not.
    """

    separator: str | None = None
    texts: tuple[str, ...] = ("text", "text_pair")
    identity: tuple[str, ...] = ("text", "text_pair")
    target: str = "label"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        column = table[columns["label"]]
        if not pa.types.is_nested(column.type):
            return Findings(
                (f"{field}: the label column {columns['label']!r} holds {column.type}, not lists of labels",)
            )
        missing = np.flatnonzero(column.is_null().to_numpy())
        holed = np.array([], dtype=np.int64)
        flat = _flat(column)
        if flat.null_count:
            holed = np.unique(_row_of(column)[flat.is_null().to_numpy(zero_copy_only=False)])
        errors = [
            f"{field}: {count(len(rows), 'row')} {what}: {rows_at(table, rows)}"
            for rows, what in ((missing, "without a list of labels"), (holed, "with a null among their labels"))
            if len(rows)
        ]
        return Findings(tuple(errors))

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        column = train[columns["label"]]
        flat = _flat(column)
        if width := _hot_width(column, flat):
            labels = declared(data.labels or [f"LABEL_{i}" for i in range(width)])
            if len(labels) != width:
                raise ConfigError(f"data.labels: {len(labels)} names, but the label lists have {width} zeros and ones; "
                                  "list one name per position")  # fmt: skip
            return {"labels": labels, "problem_type": "multi_label_classification", "hot": True,
                    "separator": self.separator}  # fmt: skip
        if len(flat) == 0:
            raise DataError("data.train: no row has any label")
        order = names_in_order(train, columns["label"])
        names = label_names(pa.chunked_array([flat]), data.labels, "data.train", _lineage(train, column), order)
        return {"labels": names, "problem_type": "multi_label_classification", "hot": False,
                "separator": self.separator}  # fmt: skip

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        """A list of float32 zeros and ones per row, one per class, as binary cross-entropy expects."""
        column, width = table[columns["label"]], len(head["labels"])
        flat, rows = _flat(column), _row_of(column)
        if head["hot"]:
            lengths = column.combine_chunks().value_lengths().to_numpy()
            numbers = as_numbers(pa.chunked_array([flat]))
            bad = np.union1d(np.flatnonzero(lengths != width), rows[~np.isin(numbers, (0.0, 1.0))])
            if len(bad):
                raise DataError(f"{field}: {count(len(bad), 'row')} whose labels are not {width} zeros and ones: "
                                f"{rows_at(table, bad)}")  # fmt: skip
            hot = numbers.astype(np.float32)
        else:
            places = _lineage(table, column)
            ids = encode_labels(pa.chunked_array([flat]), head["labels"], field, places) if len(flat) else []
            grid = np.zeros((len(column), width), np.float32)
            grid[rows, np.asarray(ids, dtype=np.int64)] = 1.0
            hot = grid.ravel()
        offsets = np.arange(len(column) + 1, dtype=np.int32) * width
        return {"label": pa.ListArray.from_arrays(pa.array(offsets), pa.array(hot))}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        width = len(head["labels"])
        counts = train["label"].combine_chunks().values.to_numpy().reshape(-1, width).sum(axis=0)
        never = [head["labels"][i] for i in np.flatnonzero(counts == 0)]
        warnings = missing_warnings(head["labels"], "data.train")
        if not never:
            return warnings
        return [*warnings, f"data.labels: no row of train has {count(len(never), 'label')}: {first(never)}"]


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().flatten()


def _row_of(column: pa.ChunkedArray) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.repeat(np.arange(len(column)), lengths)


def _lineage(table: pa.Table, column: pa.ChunkedArray) -> pa.Table | None:
    """Return the file and line of each label's row."""
    return table.select([FILE, ROW]).take(pa.array(_row_of(column))) if FILE in table.column_names else None


def _hot_width(column: pa.ChunkedArray, flat: pa.Array) -> int:
    """Return the length of the lists, if all are equally long and contain only zeros and ones; else 0."""
    kind = flat.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return 0
    lengths = pc.unique(pc.list_value_length(column).combine_chunks()).to_pylist()
    return int(lengths[0]) if len(lengths) == 1 and lengths[0] > 1 and _only_flags(flat) else 0


def _only_flags(flat: pa.Array) -> bool:
    return bool(np.isin(pc.cast(flat, pa.float64()).to_numpy(zero_copy_only=False), (0.0, 1.0)).all())
