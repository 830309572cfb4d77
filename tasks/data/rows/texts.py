"""Rows of language modeling (texts) and of sequence-to-sequence tasks (a source and a target text)."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import ConfigError, DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.check import Findings
from tasks.data.rows.columns import Role
from tasks.data.rows.prepare import LINEAGE, Column, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of language modeling: `text`, optionally `text_pair`. See `tasks.data.rows.prepare.prepare`."""
    return prepare_rows(tables, data, roles, Texts())


def prepare_pairs(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of `sequence-sequence`: `source` and `target`, or one column `translation` of `{language: text}`
    with two languages (the first is the source, unless `data.columns` is set). See `tasks.data.rows.prepare.prepare`.
    """
    names = {name.lower() for name in tables["train"].column_names}
    if {"instruction", "input", "output"} <= names and data.columns.source is None:
        raise DataError("data.columns.source: rows in the Alpaca format (instruction, input, output): the source "
                        "is instruction and input together, and input may be empty; join the two in one column and set "
                        "data.columns.source to it, or set data.columns.source: instruction")  # fmt: skip
    return prepare_rows({name: split_translation(table, data) for name, table in tables.items()}, data, roles, Pairs())


@dataclass(frozen=True)
class Texts:
    """A text per row."""

    texts: tuple[str, ...] = ("text", "text_pair")
    identity: tuple[str, ...] = ("text", "text_pair")
    target: str = ""

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        return Findings()

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        if data.labels:
            raise ConfigError("data.labels: this task has no classes; remove it")
        return {"labels": None, "problem_type": None}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        return {}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        return []


@dataclass(frozen=True)
class Pairs(Texts):
    """A source and a target text per row."""

    texts: tuple[str, ...] = ("source", "target")
    identity: tuple[str, ...] = ("source",)
    target: str = "target"


def split_translation(table: pa.Table, data: DataConfig) -> pa.Table:
    name = "translation"
    if name not in table.column_names or not pa.types.is_struct(table.schema.field(name).type):
        return table
    fields = [field.name for field in table.schema.field(name).type]
    wanted = [data.columns.source, data.columns.target]
    pair = [want or have for want, have in zip(wanted, fields[:2], strict=False)]
    if len(fields) < 2 or not set(pair) <= set(fields):
        return table
    if len(fields) > 2 and None in wanted:
        raise ConfigError(f"data.columns.source: column 'translation' has {', '.join(fields)}; set two of them as "
                          "data.columns.source and data.columns.target")  # fmt: skip
    kept = [column for column in table.column_names if column != name and column not in LINEAGE]
    columns = {column: table[column] for column in kept}
    targets = [data.columns.source or "source", data.columns.target or "target"]
    columns |= {into: pc.struct_field(table[name], field) for into, field in zip(targets, pair, strict=True)}
    return pa.table(columns | {column: table[column] for column in LINEAGE})
