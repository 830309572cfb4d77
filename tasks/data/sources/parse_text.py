"""Parsers of texts that are no tables: plain lines, CoNLL columns, nested JSON documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from itertools import groupby
from typing import Any

import pyarrow as pa

from tasks.data.sources.parse import Parsed
from tasks.data.sources.text_file import Text
from tasks.data.tables.odd_values import UNFIT

BLANKS = " \t"
WORDS = pa.list_(pa.string())
ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])


def text_lines(name: str, text: str, problems: list[str]) -> Parsed | None:
    """A row a line, in a column `text`; blank lines are skipped."""
    kept = [(number, line) for number, line in _numbered(text) if line.strip()]
    if not kept:
        problems.append(f"{name} is empty")
        return None
    return pa.table({"text": pa.array([line for _, line in kept], pa.string())}), [number for number, _ in kept]


def conll(name: str, text: str, problems: list[str]) -> Parsed | None:
    """Sentences divided by blank lines, a word a line: `tokens` from the first column, `ner_tags` from the last.

    Columns are divided by tabs, or else by spaces. `-DOCSTART-` lines and comments (`# …` with a space, as CoNLL-U has
    them) are skipped. A sentence stands on the line of its first word.
    """
    tokens, tags, lines = [], [], []
    for has_words, some in groupby(_numbered(text), lambda pair: bool(pair[1].strip())):
        words = [pair for pair in some if not pair[1].startswith(("-DOCSTART-", "# "))] if has_words else []
        if not words:
            continue
        fields = [line.split("\t") if "\t" in line else re.split(" +", line.strip(BLANKS)) for _, line in words]
        short = [number for (number, _), each in zip(words, fields, strict=True) if len(each) < 2]
        problems.extend(f"{name}:{number}: a word without a tag" for number in short)
        if not short:
            lines.append(words[0][0])
            tokens.append([each[0] for each in fields])
            tags.append([each[-1].strip() for each in fields])
    if not lines and not problems:
        problems.append(f"{name} is empty")
    return (pa.table({"tokens": pa.array(tokens, WORDS), "ner_tags": pa.array(tags, WORDS)}), lines) if lines else None


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Lines by number. They end at \\n, \\r\\n or \\r; `str.splitlines` would end them at form feeds and U+2028 too."""
    return enumerate((line.removesuffix("\n") for line in StringIO(text, newline=None)), 1)


def document(name: str, given: Text, problems: list[str]) -> Parsed | None:
    """A file that is one JSON object: nested SQuAD, a dict of columns, or `{"data": [rows]}`; None if it is none."""
    with given.open() as file:
        if _is_whole(next((line for line in file if line.strip()), "")) and any(line.strip() for line in file):
            return None  # an object a line
    text = given.read()
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):  # said by whoever reads it as rows
        return None
    if text[end:].strip() or not isinstance(value, dict):
        return None
    data = value.get("data")
    if isinstance(data, list) and data and all(isinstance(each, dict) and "paragraphs" in each for each in data):
        return _squad(name, data, problems)
    if isinstance(data, list) and data and all(isinstance(each, dict) for each in data):
        return _table(name, "data", data, problems)
    columns = {key: each for key, each in value.items() if isinstance(each, list)}
    if len(columns) != len(value) or not columns:
        return None
    sizes = {key: len(each) for key, each in columns.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{key!r} {size}" for key, size in sizes.items())
        problems.append(f"{name}:1: its columns are not of one length: {said}")
        return None
    return _table(name, "columns", columns, problems)


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line.removeprefix("\ufeff")), dict)
    except (ValueError, RecursionError):
        return False


def _table(name: str, what: str, values: Any, problems: list[str]) -> Parsed | None:
    try:
        table = pa.table(values) if isinstance(values, dict) else pa.Table.from_pylist(values)
    except UNFIT as error:
        problems.append(f"{name}:1: its {what} cannot be read as a table: {str(error).splitlines()[0]}")
        return None
    return table, range(1, table.num_rows + 1)


def _squad(name: str, articles: list[dict[str, Any]], problems: list[str]) -> Parsed | None:
    """Articles, paragraphs, questions -> a row a question, counted in the order they stand in."""
    rows: list[dict[str, Any]] = []
    for title, paragraph, asked in _questions(articles):
        row = len(rows) + 1
        answers = [answer for answer in _list(asked, "answers") if isinstance(answer, dict)]
        if "context" not in paragraph or "question" not in asked:
            missing = "context" if "context" not in paragraph else "question"
            problems.append(f"{name}:{row}: a question without its {missing!r}")
        rows.append({
            "id": str(asked.get("id", row)), "title": title,
            "context": paragraph.get("context"), "question": asked.get("question"),
            "answers": {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")},
        })  # fmt: skip
    if not rows:
        problems.append(f"{name} holds no questions")
        return None
    schema = pa.schema([*((key, pa.string()) for key in ("id", "title", "context", "question")), ("answers", ANSWERS)])
    try:
        return pa.Table.from_pylist(rows, schema), range(1, len(rows) + 1)
    except UNFIT:
        problems.extend(_unfit(name, rows, schema))
        return None


def _questions(articles: list[dict[str, Any]]) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """(title, paragraph, question) of all questions."""
    for article in articles:
        for paragraph in _list(article, "paragraphs"):
            for asked in _list(paragraph, "qas"):
                if isinstance(asked, dict):
                    yield article.get("title"), paragraph, asked


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _unfit(name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> Iterator[str]:
    for row, each in enumerate(rows, 1):
        for field in schema:
            try:
                pa.array([each[field.name]], field.type)
            except UNFIT as error:
                yield f"{name}:{row}: {field.name!r} cannot be kept: {str(error).splitlines()[0]}"
