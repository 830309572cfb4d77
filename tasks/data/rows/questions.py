"""Rows of extractive question answering: a question, a context, and answers with their positions in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.config import DataConfig
from tasks.data.curation.check import Findings
from tasks.data.messages import count, rows_at
from tasks.data.rows.columns import Role
from tasks.data.rows.prepare import Column, Head, Prepared
from tasks.data.rows.prepare import prepare as prepare_rows
from tasks.data.rows.text_lists import value_of
from tasks.data.tables.positions import position

ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Prepare rows of `question-answering`. Answers are `{text: […], answer_start: […]}` (training uses the first,
    metrics use all), a list of `{text, answer_start}`, a text or a list of texts (located at the first occurrence in
    the context, unless a column `answer_start` gives the position in characters), or null or empty (no answer).

    See `tasks.data.rows.prepare.prepare`.
    """
    return prepare_rows(tables, data, roles, QuestionRows())


@dataclass(frozen=True)
class QuestionRows:
    """A question, its context, and answers that are parts of it."""

    texts: tuple[str, ...] = ("question", "context")
    identity: tuple[str, ...] = ("question", "context")
    target: str = "answers"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        bad: dict[str, list[int]] = {}
        for row, (_, wrong) in enumerate(_answers(table, columns)):
            if wrong:
                bad.setdefault(wrong, []).append(row)
        return Findings(tuple(
            f"{field}: {count(len(rows), 'row')} whose answer (data.columns.answers) {what}: {rows_at(table, rows)}"
            for what, rows in bad.items()
        ))  # fmt: skip

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        none = any(not answers["text"] for answers, _ in _answers(train, columns))
        return {"labels": None, "problem_type": None, "no_answer": none}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        return {"answers": pa.array([answers for answers, _ in _answers(table, columns)], ANSWERS)}

    def validate_encoded(self, train: pa.Table, head: Head) -> list[str]:
        return []


def _answers(table: pa.Table, columns: Mapping[str, str]) -> Iterator[tuple[dict[str, list[object]], str]]:
    """Yield for each row its answers as `{text, answer_start}`, and an error text (empty if they are valid)."""
    nothing = pa.chunked_array([pa.nulls(table.num_rows)])
    starts = table[columns["answer_start"]] if "answer_start" in columns else nothing
    for each in zip(table[columns["answers"]], starts, table[columns["context"]], strict=True):
        yield _normal(*(value.as_py() for value in each))


def _normal(answers: object, starts: object, context: object) -> tuple[dict[str, list[object]], str]:
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    if not isinstance(context, str):
        return none, "has no context"
    if isinstance(answers, str) and answers.isspace():
        return none, "is only whitespace"
    if isinstance(answers, str) and answers not in context:
        answers = value_of(answers)  # a list written as text
    if isinstance(answers, list) and answers and all(isinstance(each, dict) for each in answers):
        answers = {name: [each.get(name) for each in answers] for name in ("text", "answer_start")}
    if isinstance(answers, dict) and answers:
        if "text" not in answers:
            return none, f"has no key 'text', but {', '.join(map(repr, answers))}"
        own = answers.get("answer_start")
        starts = starts if own is None else own
        answers = answers["text"]
    texts = answers if isinstance(answers, list) else [answers] if answers or isinstance(answers, int | float) else []
    if texts in ([], [""]):
        return none, ""
    if not all(isinstance(text, str) and text for text in texts):
        return none, "is not text"
    if any(str(text).isspace() for text in texts):
        return none, "is only whitespace"
    return _located(texts, starts, context)


def _located(texts: list[Any], starts: object, context: str) -> tuple[dict[str, list[object]], str]:
    """Return the texts with their positions: as given, else the first occurrence."""
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    starts = value_of(starts) if isinstance(starts, str) else starts
    starts = [None] * len(texts) if starts is None else starts if isinstance(starts, list) else [starts]
    if len(starts) != len(texts):
        return none, "has a different number of answer_start values than of texts"
    places = []
    for text, start in zip(texts, starts, strict=True):
        at = position(start)
        if at is None and start is not None:
            return none, f"has the answer_start {start!r}, which is not a position (a whole number from 0)"
        at = context.find(text) if at is None else at
        if at < 0:
            return none, "is not in its context"
        if context[at : at + len(text)] != text:
            return none, "is not at its answer_start"
        places.append(at)
    return {"text": texts, "answer_start": places}, ""
