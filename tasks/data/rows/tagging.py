"""Rows of token classification: words with a tag each, or texts with labelled character spans."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.check import Findings
from tasks.data.messages import count, first, rows_at
from tasks.data.rows.class_text import missing_warnings
from tasks.data.rows.columns import SPANS, TAGS, TEXT, TOKENS, Role, choose
from tasks.data.rows.labels import encode_labels, label_names
from tasks.data.rows.prepare import LINEAGE, Column, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.text_lists import as_lists, value_of
from tasks.data.rows.word_rows import sentences
from tasks.data.tables.class_names import names_in_order
from tasks.data.tables.positions import position
from tasks.data.tables.spans import as_spans

WORD = re.compile(r"\w+|[^\w\s]")
SCHEME = re.compile(r"(?:[BIESLU]-.+|O)$")


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of `token-classification`. See `as_words` and `tasks.data.rows.prepare.prepare`."""
    tables, data, notices = as_words(tables, data)
    prepared = prepare_rows(tables, data, roles, TaggedRows())
    prepared.warnings[:0] = notices
    return prepared


def as_words(
    tables: Mapping[str, pa.Table], data: DataConfig, tagged: bool = True
) -> tuple[dict[str, pa.Table], DataConfig, list[str]]:
    """Convert tables in any supported form to lists of words and tags; return them, the updated config, and notices.

    Lists written as text are parsed; rows of one word each are grouped into sentences; spans (`data.columns.spans`, or
    a column `spans` or `entities`; `start` and `end` in characters) become words and IOB2 tags: a word belongs to a
    span that it shares a character with, and is split where a span begins or ends within it.

    Args:
        tagged: whether the rows have tags; if not, spans are left unchanged.
    """
    done, notices, given = {}, [], data
    for split, table in tables.items():
        for name in _lists(table, given):
            table = as_lists(table, name, f"data.{split}")
        done[split], data, more = sentences(table, given, f"data.{split}")
        notices += more
    names = [name for name in next(iter(done.values())).column_names if name not in LINEAGE]
    wanted = data.columns.model_dump()
    lower = {name.lower() for name in names}
    spans = wanted["tags"] is None and not (lower & {"tokens", "words"}) and lower & set(SPANS.names)
    if tagged and (wanted["spans"] or spans):
        chosen = choose(names, wanted, (TEXT, SPANS))
        done = {
            name: _spans_to_words(table, chosen["text"], chosen["spans"], f"data.{name}")
            for name, table in done.items()
        }
        columns = data.columns.model_copy(update={"tokens": "tokens", "tags": "tags", "text": None, "spans": None})
        data = data.model_copy(update={"columns": columns})
    return done, data, notices


def _lists(table: pa.Table, data: DataConfig) -> list[str]:
    """Return the columns that may contain words or tags."""
    known = {*TOKENS.names, *TAGS.names, data.columns.tokens, data.columns.tags}
    return [name for name in table.column_names if {name, name.lower()} & known]


@dataclass(frozen=True)
class TaggedRows:
    """Words and tags, in lists of equal length."""

    texts: tuple[str, ...] = ()
    identity: tuple[str, ...] = ("tokens",)
    target: str = "tags"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        tokens, tags = table[columns["tokens"]], table[columns["tags"]]
        for role, column in (("tokens", tokens), ("tags", tags)):
            if not pa.types.is_list(column.type):
                hint = "; for rows of one word each, set data.columns.sentence to the column with the sentence id"
                return Findings((f"{field}: column {columns[role]!r} (data.columns.{role}) holds {column.type}, "
                                 f"not lists with one entry per word{hint * pa.types.is_string(column.type)}: "
                                 f"{rows_at(table, range(table.num_rows))}",))  # fmt: skip
            if pa.types.is_nested(column.type.value_type):
                return Findings((f"{field}: column {columns[role]!r} (data.columns.{role}) holds {column.type}, not "
                                 f"lists of plain values: {rows_at(table, range(table.num_rows))}",))  # fmt: skip
        words, marks = (pc.list_value_length(column) for column in (tokens, tags))
        lengths = pc.fill_null(words, 0).to_numpy(), pc.fill_null(marks, 0).to_numpy()
        empty, uneven = np.flatnonzero(lengths[0] == 0), np.flatnonzero(lengths[0] != lengths[1])
        errors = []
        if len(empty):
            errors.append(f"{field}: {count(len(empty), 'row')} without words: {rows_at(table, empty)}")
        if len(uneven):
            at = int(uneven[0])
            errors.append(f"{field}: {count(len(uneven), 'row')} with unequal numbers of words and tags (the first has "
                          f"{lengths[0][at]} words and {lengths[1][at]} tags): {rows_at(table, uneven)}")  # fmt: skip
        elif tokens.combine_chunks().flatten().null_count:
            rows = np.repeat(np.arange(len(tokens)), lengths[0])[
                tokens.combine_chunks().flatten().is_null().to_numpy(zero_copy_only=False)
            ]
            errors.append(f"{field}: {count(len(np.unique(rows)), 'row')} with a null among the words: "
                          f"{rows_at(table, np.unique(rows))}")  # fmt: skip
        return Findings(tuple(errors))

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        column = train[columns["tags"]]
        order = names_in_order(train, columns["tags"])
        flat, lineage = pa.chunked_array([_flat(column)]), _lineage(train, column)
        labels = label_names(flat, data.labels, "data.train", lineage, order)
        if data.labels is None and labels != order and all(SCHEME.match(label) for label in labels):
            # a kind with only B- tags in train needs an I- tag too, for entities of several words
            inside = {f"I-{label[2:]}" for label in labels if label.startswith("B-")}
            labels = sorted({*labels, *inside})
        return {"labels": labels, "problem_type": None}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        column = table[columns["tags"]]
        ids = encode_labels(pa.chunked_array([_flat(column)]), head["labels"], field, _lineage(table, column))
        lengths = column.combine_chunks().value_lengths().to_numpy()
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        words = table[columns["tokens"]].cast(pa.list_(pa.string()))
        return {"tokens": words, "tags": pa.ListArray.from_arrays(pa.array(offsets), pc.cast(ids, pa.int32()))}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        notices = missing_warnings(head["labels"], "data.train")
        return notices + (
            _continuation_warnings(train, head["labels"])
            if all(SCHEME.match(label) for label in head["labels"])
            else []
        )


def _continuation_warnings(table: pa.Table, labels: Sequence[str]) -> list[str]:
    """Warn of `I-` tags that do not follow an entity of their kind."""
    tags = table["tags"].combine_chunks()
    ids, lengths = tags.flatten().to_numpy(), tags.value_lengths().to_numpy()
    kinds = {name: at for at, name in enumerate(sorted({label[2:] for label in labels}))}
    kind = np.asarray([kinds[label[2:]] for label in labels])[ids]
    inside = np.asarray([label.startswith(("I-", "E-", "L-")) for label in labels])[ids]
    first = np.zeros(len(ids), dtype=bool)
    first[np.cumsum(lengths)[:-1]] = first[:1] = True
    before = np.concatenate([[-1], np.where(np.asarray([label == "O" for label in labels])[ids], -1, kind)[:-1]])
    bad = inside & (first | (before != kind))
    rows = np.unique(np.repeat(np.arange(len(tags)), lengths)[bad])
    if not len(rows):
        return []
    return [f"data.train: {count(len(rows), 'row')} with an I- tag that does not follow an entity of its kind (it "
            f"begins a new one): {rows_at(table, rows)}"]  # fmt: skip


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().flatten()


def _lineage(table: pa.Table, column: pa.ChunkedArray) -> pa.Table | None:
    """Return the file and line of each tag's row, for messages about tags."""
    if not set(LINEAGE) <= set(table.column_names):
        return None
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return table.select(list(LINEAGE)).take(pa.array(np.repeat(np.arange(len(column)), lengths)))


def _spans_to_words(table: pa.Table, text: str, spans: str, field: str) -> pa.Table:
    """Return the table with words and tags computed from texts and spans.

    Raises:
        DataError: spans outside their text, of only whitespace, overlapping, or without a label; names their rows.
    """
    tokens, tags = [], []
    bad: dict[str, list[int]] = {}
    for row, (words, marks) in enumerate(zip(table[text].to_pylist(), table[spans].to_pylist(), strict=True)):
        marks = value_of(marks) if isinstance(marks, str) else marks
        found, wrong = ([], "has no text") if not isinstance(words, str) else _tagged(words, marks or [])
        tokens.append([word for word, _ in found])
        tags.append([tag for _, tag in found])
        if wrong:
            bad.setdefault(wrong, []).append(row)
    if bad:
        raise DataError("\n".join(
            f"{field}: {count(len(rows), 'row')} with a span that {what}: {rows_at(table, rows)}"
            for what, rows in bad.items()
        ))  # fmt: skip
    taken = {"tokens", "tags"} & set(table.column_names)
    if taken:
        raise DataError(f"{field}: there are columns {first(sorted(taken))} and also {spans!r}; set data.columns.tags "
                        "or data.columns.spans to choose one")  # fmt: skip
    return table.append_column("tokens", pa.array(tokens, pa.list_(pa.string()))).append_column(
        "tags", pa.array(tags, pa.list_(pa.string()))
    )


def _tagged(text: str, spans: object) -> tuple[list[tuple[str, str]], str]:
    """Return words with IOB2 tags, and an error text (empty if the spans are valid)."""
    marks: list[tuple[int, int, str]] = []
    spans = as_spans([spans]) or [spans]
    if not isinstance(spans[0], list) or not all(isinstance(span, Mapping) for span in spans[0]):
        return [], "is not start, end and label"
    for span in spans[0]:
        start, end = position(span.get("start")), position(span.get("end"))
        label = span.get("label", span.get("entity"))
        if start is None or end is None or not start < end <= len(text):
            return [], "is outside its text"
        if text[start:end].isspace():
            return [], "covers only whitespace"
        if label is None or label != label or isinstance(label, list | dict) or not str(label).strip():
            return [], "has no label"
        marks.append((start, end, str(label)))
    marks.sort()
    if any(later[0] < earlier[1] for earlier, later in pairwise(marks)):
        return [], "overlaps another"
    edges = sorted({edge for start, end, _ in marks for edge in (start, end)})
    found: list[tuple[str, str]] = []
    begun: set[int] = set()
    for match in WORD.finditer(text):
        cuts = [match.start(), *(edge for edge in edges if match.start() < edge < match.end()), match.end()]
        for start, end in pairwise(cuts):
            at = next((i for i, (low, high, _) in enumerate(marks) if low < end and start < high), None)
            tag = "O" if at is None else f"{'I' if at in begun else 'B'}-{marks[at][2]}"
            if at is not None:
                begun.add(at)
            found.append((text[start:end], tag))
    return found, ""
