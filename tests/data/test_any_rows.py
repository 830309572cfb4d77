"""Whatever stands in a file, reading it ends in rows or in a DataError that says where: no other exception."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.sources.locate import Source
from tasks.data.sources.objects import rows_to_file
from tasks.data.sources.read import read
from tasks.objectives import objective_of

# A failure is a failure by itself; the machine's pace is none.
WITHOUT_CLOCK = settings(
    deadline=None,
    max_examples=int(os.environ.get("FINETUNE_EXAMPLES", 20)),
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
TEXTS = some.text(max_size=8) | some.sampled_from(
    ["a,b", "[1, 0]", "['a' 'b']", "[", "1.0", "007", "-1e9", "nan", "\u2028", "\ufeff", "x" * 9, "true", "{'text': 3}"]
)
PLAIN = some.none() | some.booleans() | some.integers() | some.floats() | TEXTS
VALUES = some.recursive(
    PLAIN, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
COLUMNS = {
    "text-classification": ("text", "label"),
    "regression": ("text", "label"),
    "token-classification": ("tokens", "ner_tags"),
    "question-answering": ("question", "context", "answers", "answer_start"),
    "sequence-sequence": ("source", "target"),
    "language-modeling": ("text",),
}
SPANS = {"token-classification": ("text", "spans"), "text-classification": ("text", "text_pair", "label")}
SHAPES = [*COLUMNS.items(), *SPANS.items(), ("token-classification", ("sentence_id", "word", "tag"))]


def rows_or_error(name: str, content: bytes, **how: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            return read([Source(path, name)], **how).table
        except DataError as error:
            assert name in str(error)
            return None


def prepared_or_error(task: str, table: Any) -> None:
    objective = objective_of(task)
    data = DataConfig.model_validate({"train": "rows", "split": {"validation": 0.0}, "leakage": "off"})
    try:
        objective.component("prepare")({"train": table}, data, objective.roles)
    except DataError as error:
        assert "data." in str(error)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.conll", "a.parquet", "a.arrow"])
@given(content=some.binary(max_size=60) | some.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
@example(b"[" * 20_000)
@example(b'{"a": ' * 20_000)
@example(b'{"a": ' + b"9" * 5000 + b"}")
@example(b'{"\\ud800": 1}\n{"\\ud800": 2}')
@example(b'{"data": [{"paragraphs": [{"qas": 3}, 5, {"context": 1, "qas": [{"question": [], "answers": {"a": 1}}]}]}]}')
@example(b'a,"b\n1;2\t3')
@example(b"sep=;\n")
@example(b"\xff\xfea")
@WITHOUT_CLOCK
def test_any_bytes(name: str, content: bytes) -> None:
    rows_or_error(name, content)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@given(values=some.lists(VALUES, min_size=1, max_size=4))
@WITHOUT_CLOCK
def test_any_json(name: str, values: Sequence[Any]) -> None:
    content = json.dumps(values) if name == "a.json" else "\n".join(map(json.dumps, values))
    rows_or_error(name, content.encode())


@pytest.mark.parametrize(
    ("task", "columns"), SHAPES, ids=lambda each: each if isinstance(each, str) else "+".join(each)
)
@given(data=some.data())
@WITHOUT_CLOCK
def test_any_values_in_the_columns_of_a_task(task: str, columns: Sequence[str], data: Any) -> None:
    alike = data.draw(some.booleans())  # rows of one kind get past the reader
    kinds = {name: data.draw(some.sampled_from([VALUES, TEXTS, some.lists(TEXTS, max_size=3)])) for name in columns}
    row = some.fixed_dictionaries(kinds)
    rows = [data.draw(row)] * 3 if alike else data.draw(some.lists(row, min_size=1, max_size=4))
    table = rows_or_error("a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    if table is not None:
        prepared_or_error(task, table)
    texts = [{name: json.dumps(value) if data.draw(some.booleans()) else str(value) for name, value in row.items()}
             for row in rows]  # fmt: skip
    table = rows_or_error("a.csv", pd.DataFrame(texts).to_csv(index=False).encode("utf-8", "replace"))
    if table is not None:
        prepared_or_error(task, table)


@given(values=some.lists(VALUES, min_size=1, max_size=4), others=some.lists(VALUES, min_size=1, max_size=4))
@WITHOUT_CLOCK
def test_any_values_a_python_caller_holds(values: list[Any], others: list[Any]) -> None:
    size = min(len(values), len(others))
    columns = {"text": values[:size], "label": others[:size]}
    as_rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for rows in (values, columns, as_rows, pd.DataFrame(columns)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows_to_file(rows, "data.train", Path(folder))
            except DataError as error:
                assert str(error).startswith("data.train: ")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (pd.DataFrame({"text": ["a", 3, b"c"], "label": [1, 2, 3]}), "column 'text' .*row 2 is int, row 1 str"),
        (pd.DataFrame({"text": [["a", 1], ["b"]]}), "column 'text' .*row 1"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "duplicate column names"),
        ({"text": "abc"}, "column 'text' is str, not a list"),
        ({"text": ["a"], "label": 3}, "column 'label' is int, not a list"),
        ([{"text": "a"}, {"text": "a", 3: 4}], "row 2 has 3, unlike row 1"),
        ([{"text": ["a"]}, {"text": ["b", 5]}], "column 'text' .*row 2"),
    ],
)
def test_what_a_python_caller_holds_is_named_by_row_and_column(rows: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        rows_to_file(rows, "data.train", tmp_path)
