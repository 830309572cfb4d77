"""Files that are one JSON object: nested SQuAD, a dict of columns, `{"data": [rows]}`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.data.sources.parse import DECODER, Parsed, RepeatedKey, column_of, kind_of, records_table
from tasks.data.sources.text_file import Text
from tasks.data.tables.odd_values import UNFIT
from tasks.data.tables.positions import position

ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
ANSWER_KEYS = ("answers", "answer", "answer_text")


def document(name: str, given: Text, problems: list[str], as_columns: list[str]) -> Parsed | None:
    """A file that is one JSON object (of none of the three kinds: one row); None if it is none, or has problems.

    Args:
        as_columns: gets the name of a file that was read as a dict of columns, which one row of lists looks like too.
    """
    with given.open() as file:
        if _is_whole(next((line for line in file if line.strip()), "")) and any(line.strip() for line in file):
            return None  # an object a line
    text = given.read()
    start = len(text) - len(text.lstrip())
    try:
        value, end = DECODER.raw_decode(text, start)
    except RepeatedKey as error:
        problems.append(f"{name}: JSON that cannot be read: {error}")
        return None
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.lineno > 1 + text.count("\n", 0, start):
            problems.append(f"{name}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}")
        return None  # within the first line: said by whoever reads it as rows
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
        said = ", ".join(f"{key!r} {size}" for key, size in sizes.items())
        problems.append(f"{name}:1: its columns are not of one length: {said}")
        return None
    as_columns.append(name)
    rows = range(1, len(next(iter(lists.values()))) + 1)
    columns = {key: column_of(name, key, values, rows, problems) for key, values in lists.items()}
    return pa.table({key: column for key, column in columns.items() if column is not None}), rows


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line.removeprefix("\ufeff")), dict)
    except (ValueError, RecursionError):
        return False


def _squad(name: str, articles: list[Any], problems: list[str]) -> Parsed | None:
    """Articles, paragraphs, questions -> a row a question, counted in the order they stand in."""
    rows: list[dict[str, Any]] = []
    unanswered: list[str] = []
    for title, paragraph, asked in _questions(name, articles, problems):
        row = len(rows) + 1
        for missing in [key for key, of in (("context", paragraph), ("question", asked)) if key not in of]:
            problems.append(f"{name}:{row}: a question without its {missing!r}")
        key = next((key for key in ANSWER_KEYS if key in asked), None)
        if key is None and not asked.get("is_impossible"):
            unanswered.append(f"{name}:{row}: a question without its 'answers'; where there is none, write []")
        answers, wrong = _answers(asked.get(key or ""), asked.get("answer_start"))
        if wrong:
            problems.append(f"{name}:{row}: {key!r} of the question {asked.get('question')!r} {wrong}")
        rows.append({
            "id": str(asked.get("id", row)), "title": title,
            "context": paragraph.get("context"), "question": asked.get("question"),
            "answers": answers,
        })  # fmt: skip
    if not rows:
        problems.append(f"{name} holds no questions")
        return None
    answered = len(unanswered) < len(rows)
    if answered:
        problems.extend(unanswered)
    schema = pa.schema([(key, pa.string()) for key in ("id", "title", "context", "question")])
    schema = schema.append(pa.field("answers", ANSWERS)) if answered else schema
    try:
        return pa.Table.from_pylist(rows, schema), range(1, len(rows) + 1)
    except UNFIT:
        problems.extend(_unfit(name, rows, schema))
        return None


def _questions(
    name: str, articles: list[Any], problems: list[str]
) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """(title, paragraph, question) of all questions."""
    for article, at in _objects(name, articles, "data", problems):
        for paragraph, within in _objects(name, article.get("paragraphs"), f"{at}.paragraphs", problems):
            for asked, _ in _objects(name, paragraph.get("qas"), f"{within}.qas", problems):
                yield article.get("title"), paragraph, asked


def _objects(name: str, value: Any, at: str, problems: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a list and where each stands (`data[0].paragraphs[2]`); what is none is a problem."""
    if not isinstance(value, list):
        problems.append(f"{name}: {at} is {kind_of(value)}, not a list of objects")
        return
    for index, each in enumerate(value):
        if isinstance(each, dict):
            yield each, f"{at}[{index}]"
        else:
            problems.append(f"{name}: {at}[{index}] is {kind_of(each)}, not an object")


def _answers(given: Any, starts: Any) -> tuple[dict[str, list[Any]] | None, str]:
    """A question's answers as `{text: […], answer_start: […]}`, written in any of the ways that a flat row may have,
    and what is wrong with them, if anything is. A start that is not said is null: the first occurrence is meant."""
    if isinstance(given, list) and given and all(isinstance(each, dict) for each in given):
        if odd := next((each for each in given if "text" not in each), None):
            return None, f"names no text, but {', '.join(map(repr, odd))}"
        given = {key: [each.get(key) for each in given] for key in ("text", "answer_start")}
    if isinstance(given, dict) and given:
        if "text" not in given:
            return None, f"names no text, but {', '.join(map(repr, given))}"
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
        return None, f"has the answer_start {wrong[0]!r}, which is no position"
    return {"text": texts, "answer_start": places}, ""


def _unfit(name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> Iterator[str]:
    for row, each in enumerate(rows, 1):
        for field in schema:
            try:
                pa.array([each[field.name]], field.type)
            except UNFIT as error:
                yield f"{name}:{row}: {field.name!r} cannot be kept: {str(error).splitlines()[0]}"
