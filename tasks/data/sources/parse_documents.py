"""Parses JSON: an array of rows, or one object: nested SQuAD, a dict of columns, `{"data": [rows]}`, or one row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.config.json_types import JsonObject
from tasks.data.sources.data_file import DataFile, Parsed
from tasks.data.sources.parse import DECODER, RepeatedKey, column_of, json_objects, kind_of, records_table
from tasks.data.sources.text_file import Text
from tasks.data.tables.odd_values import CONVERSION_ERRORS
from tasks.data.tables.positions import position

ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
ANSWER_KEYS = ("answers", "answer", "answer_text")


def read_json(file: DataFile) -> Parsed | None:
    """Read a JSON file: one object, an array of objects, or one object per line."""
    if (text := file.text()) is None:
        return None
    before = len(file.problems)
    found = _document(file, text) if text.head().lstrip().startswith("{") else None
    if found is None and len(file.problems) == before:
        return json_objects(file.name, text, file.problems)
    return found


def _document(file: DataFile, given: Text) -> Parsed | None:
    """Parse a file that is one JSON object; None if it is not, or has problems."""
    name, problems = file.name, file.problems
    with given.open() as lines:
        if _is_whole(next((line for line in lines if line.strip()), "")) and any(line.strip() for line in lines):
            return None  # one object per line
    text = given.read()
    start = len(text) - len(text.lstrip())
    try:
        value, end = DECODER.raw_decode(text, start)
    except RepeatedKey as error:
        problems.append(f"{name}: invalid JSON: {error}")
        return None
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.lineno > 1 + text.count("\n", 0, start):
            problems.append(f"{name}:{error.lineno}: invalid JSON: {error.msg} at column {error.colno}")
        return None  # an error in the first line is reported when it is parsed as rows
    if text[end:].strip() or not isinstance(value, dict):
        return None
    lists = {key: each for key, each in value.items() if isinstance(each, list)}
    sizes = {key: len(each) for key, each in lists.items()}
    is_columns, alike = 0 < len(lists) == len(value), len({*sizes.values()}) == 1
    data = lists.get("data", [])
    if any(isinstance(each, dict) for each in data) and not (is_columns and alike and len(lists) > 1):
        nested = any(isinstance(each, dict) and "paragraphs" in each for each in data)
        return _squad(name, data, problems) if nested else records_table(name, enumerate(data, 1), problems)
    if not is_columns:
        return records_table(name, iter([(1, value)]), problems)
    if not alike:
        lengths = ", ".join(f"{key!r} {size}" for key, size in sizes.items())
        problems.append(f"{name}:1: columns differ in length: {lengths}")
        return None
    file.note("read as columns, each a list with one value per row",
              " (set data.format: jsonl to read such an object as one row)")  # fmt: skip
    rows = range(1, len(next(iter(lists.values()))) + 1)
    columns = {key: column_of(name, key, values, rows, problems) for key, values in lists.items()}
    return pa.table({key: column for key, column in columns.items() if column is not None}), rows


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line.removeprefix("\ufeff")), dict)
    except (ValueError, RecursionError):
        return False


def _squad(name: str, articles: list[Any], problems: list[str]) -> Parsed | None:
    """Return one row per question of articles and paragraphs, numbered in file order."""
    rows: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for title, paragraph, question in _questions(name, articles, problems):
        row = len(rows) + 1
        for missing in [key for key, of in (("context", paragraph), ("question", question)) if key not in of]:
            problems.append(f"{name}:{row}: a question without {missing!r}")
        key = next((key for key in ANSWER_KEYS if key in question), None)
        if key is None and not question.get("is_impossible"):
            unanswered.append(f"{name}:{row}: a question without 'answers'; write [] if it has no answer")
        answers, wrong = _answers(question.get(key or ""), question.get("answer_start"))
        if wrong:
            problems.append(f"{name}:{row}: {key!r} of the question {question.get('question')!r} {wrong}")
        rows.append({
            "id": str(question.get("id", row)), "title": title,
            "context": paragraph.get("context"), "question": question.get("question"),
            "answers": answers,
        })  # fmt: skip
    if not rows:
        problems.append(f"{name} contains no questions")
        return None
    answered = len(unanswered) < len(rows)
    if answered:
        problems.extend(unanswered)
    schema = pa.schema([(key, pa.string()) for key in ("id", "title", "context", "question")])
    schema = schema.append(pa.field("answers", ANSWERS)) if answered else schema
    try:
        return pa.Table.from_pylist(rows, schema), range(1, len(rows) + 1)
    except CONVERSION_ERRORS:
        problems.extend(_unfit(name, rows, schema))
        return None


def _questions(name: str, articles: list[Any], problems: list[str]) -> Iterator[tuple[Any, JsonObject, JsonObject]]:
    """Yield (title, paragraph, question) of all questions."""
    for article, at in _objects(name, articles, "data", problems):
        for paragraph, within in _objects(name, article.get("paragraphs"), f"{at}.paragraphs", problems):
            for question, _ in _objects(name, paragraph.get("qas"), f"{within}.qas", problems):
                yield article.get("title"), paragraph, question


def _objects(name: str, value: object, at: str, problems: list[str]) -> Iterator[tuple[JsonObject, str]]:
    """Yield the objects of a list with their paths (`data[0].paragraphs[2]`); anything else is a problem."""
    if not isinstance(value, list):
        problems.append(f"{name}: {at} is {kind_of(value)}, not a list of objects")
        return
    for index, each in enumerate(value):
        if isinstance(each, dict):
            yield each, f"{at}[{index}]"
        else:
            problems.append(f"{name}: {at}[{index}] is {kind_of(each)}, not an object")


def _answers(given: object, starts: object) -> tuple[dict[str, list[Any]] | None, str]:
    """Return a question's answers as `{text: […], answer_start: […]}`, from any of the forms allowed in a flat row, and
    an error text, empty if there is none. A missing start is null, which means the first occurrence."""
    if isinstance(given, list) and given and all(isinstance(each, dict) for each in given):
        if odd := next((each for each in given if "text" not in each), None):
            return None, f"has no key 'text', but {', '.join(map(repr, odd))}"
        given = {key: [each.get(key) for each in given] for key in ("text", "answer_start")}
    if isinstance(given, dict) and given:
        if "text" not in given:
            return None, f"has no key 'text', but {', '.join(map(repr, given))}"
        starts = starts if given.get("answer_start") is None else given["answer_start"]
        given = given["text"]
    texts = given if isinstance(given, list) else [] if given in (None, "", {}) else [given]
    if texts in ([], [""]):
        return {"text": [], "answer_start": []}, ""
    if odd := [text for text in texts if not isinstance(text, str)]:
        return None, f"is {kind_of(odd[0])}, not a text, a list of texts, or objects with 'text' and 'answer_start'"
    starts = starts if isinstance(starts, list) else [None] * len(texts) if starts is None else [starts]
    if len(starts) != len(texts):
        return None, f"has {len(texts)} texts, but {len(starts)} starts"
    places = [position(start) for start in starts]
    if wrong := [start for start, place in zip(starts, places, strict=True) if place is None and start is not None]:
        return None, f"has the answer_start {wrong[0]!r}, which is not a position (a whole number from 0)"
    return {"text": texts, "answer_start": places}, ""


def _unfit(name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> Iterator[str]:
    for row, each in enumerate(rows, 1):
        for field in schema:
            try:
                pa.array([each[field.name]], field.type)
            except CONVERSION_ERRORS as error:
                yield f"{name}:{row}: {field.name!r} cannot be stored: {str(error).splitlines()[0]}"
