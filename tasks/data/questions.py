"""Rows of extractive question answering: a question, a text, and where in it the answer stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.config import DataConfig
from tasks.data.check import Findings
from tasks.data.columns import Role
from tasks.data.prepare import Column, Head, Prepared
from tasks.data.prepare import prepare as prepare_rows
from tasks.data.say import count, rows_at

ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])


def prepare(tables: Mapping[str, pa.Table], data: DataConfig, roles: Sequence[Role]) -> Prepared:
    """Rows of `question-answering`. An answer is `{text: […], answer_start: […]}` (the first is trained on, all are
    scored against), its own text (its first occurrence in the context is meant), or empty (there is none).
    See `tasks.data.prepare.prepare`."""
    return prepare_rows(tables, data, roles, Answered())


@dataclass(frozen=True)
class Answered:
    """A question, its context, and answers that stand in it."""

    texts: tuple[str, ...] = ("question", "context")
    identity: tuple[str, ...] = ("question", "context")
    target: str = "answers"

    def check(self, table: pa.Table, columns: Mapping[str, str], field: str) -> Findings:
        bad: dict[str, list[int]] = {}
        contexts = table[columns["context"]]
        for row, answers in enumerate(_each(table[columns["answers"]])):
            wrong = _normal(answers, contexts[row].as_py() or "")[1]
            if wrong:
                bad.setdefault(wrong, []).append(row)
        return Findings(tuple(
            f"{field}: {count(len(rows), 'row')} whose answer {what}: {rows_at(table, rows)}"
            for what, rows in bad.items()
        ))  # fmt: skip

    def head(self, train: pa.Table, columns: Mapping[str, str], data: DataConfig) -> Head:
        none = any(_is_none(answers) for answers in _each(train[columns["answers"]]))
        return {"labels": None, "problem_type": None, "no_answer": none}

    def stratum(self, train: pa.Table, columns: Mapping[str, str]) -> None:
        return None

    def code(self, table: pa.Table, columns: Mapping[str, str], head: Head, field: str) -> dict[str, Column]:
        contexts = table[columns["context"]]
        answers = (
            _normal(value, contexts[row].as_py())[0] for row, value in enumerate(_each(table[columns["answers"]]))
        )
        return {"answers": pa.array(list(answers), ANSWERS)}

    def settle(self, train: pa.Table, head: Head) -> list[str]:
        return []


def _each(column: pa.ChunkedArray) -> Any:
    for chunk in column.chunks:
        yield from chunk.to_pylist()


def _is_none(answers: Any) -> bool:
    """Whether a question is said to have no answer."""
    if isinstance(answers, dict):
        return not answers.get("text")
    return not answers or (isinstance(answers, str) and not answers.strip())


def _normal(answers: Any, context: str) -> tuple[dict[str, list[Any]], str]:
    """Answers as `{text, answer_start}`, and what is wrong with them, if anything is."""
    none: dict[str, list[Any]] = {"text": [], "answer_start": []}
    if isinstance(answers, str):
        if not answers.strip():
            return none, ""
        at = context.find(answers)
        return ({"text": [answers], "answer_start": [at]}, "") if at >= 0 else (none, "does not stand in its context")
    if isinstance(answers, list):  # [{text, answer_start}, …], as nested SQuAD has it
        answers = {name: [each.get(name) for each in answers] for name in ("text", "answer_start")}
    if not answers or not answers.get("text"):
        return none, ""
    texts, starts = answers["text"], answers.get("answer_start")
    texts = [texts] if isinstance(texts, str) else texts
    starts = [starts] if isinstance(starts, int) else starts
    if starts is None or len(starts) != len(texts):
        return none, "has not as many starts as texts"
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not isinstance(start, int) or start < 0:
            return none, "has no text or no start"
        if context[start : start + len(text)] != text:
            return none, "does not stand at its answer_start"
    return {"text": list(texts), "answer_start": list(starts)}, ""
