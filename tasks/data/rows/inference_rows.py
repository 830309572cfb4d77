"""Rows for prediction and evaluation with a trained model; column names may differ from those in training."""

from collections.abc import Iterable, Mapping, Sequence
from re import Match

import numpy as np
import pyarrow as pa

from tasks.config import DataConfig
from tasks.data.curation.check import check_rows
from tasks.data.rows import questions, texts
from tasks.data.rows.class_text import keys
from tasks.data.rows.classification import Number, OneClass
from tasks.data.rows.columns import PLAIN, Role, choose
from tasks.data.rows.joined_labels import split_labels
from tasks.data.rows.multi_label import MultiLabel, gathered
from tasks.data.rows.prepare import LINEAGE, Head, Kind, renamed
from tasks.data.rows.readable import STARTS
from tasks.data.rows.tagging import WORD, TaggedRows, as_words

Unseen = tuple[pa.Table, list[str]]  # rows with columns named by role; notices for the user
CLASSES: Mapping[str | None, Kind] = {
    "single_label_classification": OneClass(),
    "multi_label_classification": MultiLabel(),
    "regression": Number(),
}


def classification_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> Unseen:
    """Prepare rows for classification and regression. See `given_by_roles`."""
    notices: list[str] = []
    if labelled and head["problem_type"] == "multi_label_classification":
        tables, data = gathered({"train": table}, data)
        name = choose(_names(tables["train"]), data.columns.model_dump(), roles)["label"]
        wanted = data.label_separator or head.get("separator")
        tables, _, notices = split_labels(tables, name, wanted, head["labels"])
        table = tables["train"]
    kind = CLASSES[head["problem_type"]]
    return given_by_roles(table, data, roles, kind, head, field, labelled), notices


def tagging_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> Unseen:
    """Prepare rows for token classification: words, or texts, which are split into words in a new column `tokens`."""
    tables, data, notices = as_words({"train": table}, data, labelled)
    table = tables["train"]
    if not labelled and not {"tokens", "words", data.columns.tokens} & set(table.column_names):
        name = choose(_names(table), data.columns.model_dump(), (PLAIN,))["text"]
        check_rows(table, {"text": name}, field).raise_if_any()
        found = [list(WORD.finditer(text)) for text in table[name].to_pylist()]
        words, starts = ([[take(each) for each in row] for row in found] for take in (Match.group, Match.start))
        table = table.append_column("tokens", pa.array(words, pa.list_(pa.string())))
        table = table.append_column(STARTS, pa.array(starts, pa.list_(pa.int32())))
    return given_by_roles(table, data, roles, TaggedRows(), head, field, labelled), notices


def question_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> Unseen:
    """Prepare rows for question answering. See `given_by_roles`."""
    return given_by_roles(table, data, roles, questions.QuestionRows(), head, field, labelled), []


def pair_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> Unseen:
    """Prepare rows for sequence to sequence. See `given_by_roles`."""
    return given_by_roles(texts.split_translation(table, data), data, roles, texts.Pairs(), head, field, labelled), []


def text_rows(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], head: Head, field: str, labelled: bool
) -> Unseen:
    """Prepare rows for language models. See `given_by_roles`."""
    return given_by_roles(table, data, roles, texts.Texts(), head, field, labelled), []


def given_by_roles(
    table: pa.Table, data: DataConfig, roles: Sequence[Role], kind: Kind, head: Head, field: str, labelled: bool
) -> pa.Table:
    """Return checked rows with columns named by role and labels as the model's ids.

    Args:
        labelled: whether labels are needed; if not, a column that holds them is left unchanged.

    Raises:
        DataError: invalid rows (with file and line), or a label that the model does not have.
    """
    if not labelled:
        roles = [role for role in roles if role.name != kind.target]
        table = table.drop_columns([name for name in (kind.target,) if name in table.column_names])
    columns = choose(_names(table), data.columns.model_dump(), roles)
    found = check_rows(table, {role: columns[role] for role in kind.texts if role in columns}, field)
    (found + kind.check(table, columns, field) if labelled else found).raise_if_any()
    if not labelled:
        return renamed(table, columns, {}, roles)
    numbered = _numbered(head, table[columns[kind.target]]) if kind.target in columns else head
    return renamed(table, columns, kind.code(table, columns, numbered, field), roles)


def _numbered(head: Head, labels: pa.ChunkedArray) -> Head:
    """Return the head with ids as class names, if a column contains only class ids and no class name."""
    ids = [str(at) for at in range(len(head["labels"] or []))]
    while pa.types.is_list(labels.type) or pa.types.is_large_list(labels.type):
        labels = pa.chunked_array([labels.combine_chunks().flatten()])
    if not ids or not (pa.types.is_integer(labels.type) or pa.types.is_string(labels.type)):
        return head
    given = set(keys(labels.cast(pa.string()).unique().to_pylist()))
    return {**head, "labels": ids} if given <= set(ids) and not given & set(keys(head["labels"])) else head


def _names(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in LINEAGE]


def join_predictions(predictions: pa.Table, rows: pa.Table) -> pa.Table:
    """Return the columns of the input and the prediction, one row per input row, in the input's order.

    Args:
        predictions: with `__origin`, positions in `rows`. Input rows without a prediction get nulls; an input column
            with the name of a prediction column is renamed, see `renamed_inputs`.
    """
    origins = predictions["__origin"].to_numpy()
    places = np.full(rows.num_rows, -1, dtype=np.int64)
    places[origins] = np.arange(len(origins))
    where = pa.array(places, mask=places < 0)
    predicted = {name: predictions[name] for name in predictions.column_names if not name.startswith("__")}
    renamed = renamed_inputs(predicted, rows.column_names)
    given = {renamed.get(name, name): rows[name] for name in rows.column_names if not name.startswith("__")}
    return pa.table(given | {name: column.combine_chunks().take(where) for name, column in predicted.items()})


def renamed_inputs(predicted: Iterable[str], given: Sequence[str]) -> dict[str, str]:
    """Return new names, such as "input_score", for the input columns that have the name of a prediction column."""
    taken = {*predicted, *given}
    renamed = {}
    for name in set(predicted) & set(given):
        new = f"input_{name}"
        while new in taken:
            new = f"input_{new}"
        taken.add(new)
        renamed[name] = new
    return dict(sorted(renamed.items()))
