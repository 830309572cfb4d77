"""Conversations in every common format become the same messages; what is none is refused with its rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat.rows import from_json, inference_rows, prepare
from tasks.data.rows.columns import CONVERSATION
from tasks.data.rows.splits import read_splits, split_files

USER, ANSWER = {"role": "user", "content": "How deep?"}, {"role": "assistant", "content": "Very."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "depth", "arguments": {"of": "sea"}}}
CALLED = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "11 km"},
          ANSWER]  # fmt: skip
TOOL = {"type": "function", "function": {"name": "depth", "parameters": {"type": "object", "properties": {}}}}


def prepared(folder: Path, *rows: dict[str, Any], **data: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig.model_validate({"train": str(folder / "rows.jsonl"), "split": {"validation": 0.0}, **data})
    tables, _ = read_splits(split_files(config), config, CONVERSATION)
    return prepare(tables, config, CONVERSATION)


def messages(found: Any) -> list[Any]:
    return [from_json(text).messages for text in found.splits["train"]["messages"].to_pylist()]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [SYSTEM, USER, ANSWER]}, [SYSTEM, USER, ANSWER]),
        ({"messages": json.dumps([USER, ANSWER])}, [USER, ANSWER]),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "How deep?"}]}, ANSWER]}, [USER, ANSWER]),
        ({"prompt": json.dumps([SYSTEM, USER]), "completion": json.dumps(ANSWER)}, [SYSTEM, USER, ANSWER]),
        ({"prompt": "How deep?", "completion": '{"value": 1}'}, [USER, {**ANSWER, "content": '{"value": 1}'}]),
        ({"messages": CALLED, "tools": [TOOL]}, CALLED),
        (
            {"conversations": [{"from": "human", "value": "How deep?"}, {"from": "gpt", "value": "Very."}],
             "system": "Be brief."},
            [SYSTEM, USER, ANSWER],
        ),
        (
            {"conversations": [
                {"from": "human", "value": "How deep?"},
                {"from": "function_call", "value": json.dumps({"name": "depth", "arguments": {"of": "sea"}})},
                {"from": "observation", "value": "11 km"},
                {"from": "gpt", "value": "Very."},
            ]},
            CALLED,
        ),
        ({"prompt": "How deep?", "completion": "Very."}, [USER, ANSWER]),
        ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, USER, ANSWER]),
        ({"instruction": "How", "input": "deep?", "output": "Very."}, [{**USER, "content": "How\ndeep?"}, ANSWER]),
        ({"instruction": "How deep?", "input": "", "output": "Very."}, [USER, ANSWER]),
        (
            {"instruction": "How deep?", "output": "Very.", "system": "Be brief.", "history": [["Hi", "Hello"]]},
            [SYSTEM, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, USER, ANSWER],
        ),
        ({"question": "How deep?", "answer": "Very."}, [USER, ANSWER]),
    ],
)  # fmt: skip
def test_every_format_becomes_messages(row: dict[str, Any], expected: list[Any], tmp_path: Path) -> None:
    found = prepared(tmp_path, row)
    assert messages(found) == [expected]
    first = from_json(found.splits["train"]["messages"][0].as_py())
    assert first.given == (None if {"messages", "conversations"} & row.keys() else len(expected) - 1)
    assert first.tools == row.get("tools")
    assert (
        "How" in found.splits["train"]["prompt"][0].as_py()
        and "Very." not in found.splits["train"]["prompt"][0].as_py()
    )


def test_columns_can_be_named(tmp_path: Path) -> None:
    columns = {"prompt": "ask", "completion": "reply", "system": "frame"}
    found = prepared(tmp_path, {"ask": "How deep?", "reply": "Very.", "frame": "Be brief.", "id": 7}, columns=columns)
    assert messages(found) == [[SYSTEM, USER, ANSWER]] and found.columns == columns
    assert found.splits["train"]["id"].to_pylist() == [7], "other columns are kept"


def test_objects_with_other_keys_do_not_change_each_other(tmp_path: Path) -> None:
    """In Arrow all calls of a file have the same keys; absent ones must not become null arguments."""
    other = {"type": "function", "function": {"name": "width", "arguments": {"to": 3}}}
    rows = [
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [each]}]} for each in (CALL, other)
    ]
    found = prepared(tmp_path, *rows)
    assert [turns[1]["tool_calls"] for turns in messages(found)] == [[CALL], [other]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": []}, "data.train: 1 row whose messages are empty: rows.jsonl:2"),
        ({"messages": [USER]}, "1 row whose messages have no answer of the assistant to learn from"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "message 1 of messages is by 'narrator'; valid are"),
        ({"messages": [USER, {"role": "assistant", "content": ""}]}, "message 2 of messages has no content"),
        ({"messages": "[{"}, "messages are a text that is not valid JSON"),
        ({"messages": json.dumps([{**USER, "content": [{"type": "image"}]}, ANSWER])}, "a part of type 'image'"),
    ],
)  # fmt: skip
def test_rows_that_are_no_conversation(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    first = (
        {"messages": json.dumps([USER, ANSWER])} if isinstance(row["messages"], str) else {"messages": [USER, ANSWER]}
    )
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, first, row)
    assert message in str(caught.value) and "rows.jsonl:2" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "How deep?", "completion": None}, "1 row whose completion is empty"),
        ({"instruction": " ", "output": "Very."}, "1 row whose prompt is empty"),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "history is not a list of pairs"),
        ({"system": "a", "messages": [SYSTEM, USER, ANSWER]}, "begin with a system message, beside a column"),
        ({"text": " "}, "1 row whose text is empty"),
        ({"text": 5}, "1 row whose text is no text"),
        ({"title": "a", "body": "b"}, "data.columns.prompt: not set, and the columns 'title', 'body'"),
        ({"prompt": "a", "body": "b"}, "data.columns.completion: not set"),
    ],
)  # fmt: skip
def test_rows_without_a_question_or_an_answer(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, row)
    assert message in str(caught.value)


def test_rows_for_inference_end_with_a_question() -> None:
    config = DataConfig(train="-")
    places = {"__file": ["q"], "__row": [1]}

    def read(**row: Any) -> list[str]:
        table = pa.table({name: [value] for name, value in row.items()} | places)
        found, _ = inference_rows(table, config, CONVERSATION, {}, "INPUT", labelled=False)
        return [turn["role"] for turn in from_json(found["messages"][0].as_py()).messages]

    assert read(messages=[SYSTEM, USER, ANSWER]) == ["system", "user"]
    assert read(prompt="How deep?", completion="Very.") == ["user"] == read(instruction="How deep?")


def test_equal_questions_are_leakage(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"question {at % 5}"}, ANSWER]} for at in range(10)]
    found = prepared(tmp_path, *rows, split={"validation": 0.4})
    train, validation = ({*found.splits[name]["prompt"].to_pylist()} for name in ("train", "validation"))
    assert train and validation and not train & validation, "a question is in one split only"


def test_raw_texts_are_rows_where_nothing_else_is(tmp_path: Path) -> None:
    found = prepared(tmp_path / "a", {"text": "<|im_start|>user", "id": 7})
    row = from_json(found.splits["train"]["messages"][0].as_py())
    assert (row.text, list(row.messages), found.columns) == ("<|im_start|>user", [], {"text": "text"})
    assert found.splits["train"]["prompt"].to_pylist() == ["<|im_start|>user"]
    assert any("data.train: the rows are raw texts (column 'text'), not conversations" in line
               and "the loss is on all tokens" in line for line in found.warnings)  # fmt: skip
    alpaca = {"instruction": "How deep?", "input": "", "output": "Very.", "text": "Below is an instruction"}
    assert messages(prepared(tmp_path / "b", alpaca)) == [[USER, ANSWER]]
    assert from_json(prepared(tmp_path / "c", alpaca, columns={"text": "text"}).splits["train"]["messages"][0].as_py()
                     ).text == "Below is an instruction"  # fmt: skip
    with pytest.raises(DataError, match=r"data.columns.text: is for rows of one raw text, and data.columns.prompt is"):
        prepared(tmp_path / "d", alpaca, columns={"text": "text", "prompt": "instruction"})
    assert '"text"' not in prepared(tmp_path / "e", {"messages": [USER, ANSWER]}).splits["train"]["messages"][0].as_py()


def test_each_split_has_a_format_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "validation.jsonl").write_text(json.dumps({"prompt": "How deep?", "completion": "Very."}) + "\n")
    validation = {"validation": str(tmp_path / "validation.jsonl")}
    found = prepared(tmp_path / "a", {"messages": [SYSTEM, USER, ANSWER]}, **validation)
    assert from_json(found.splits["validation"]["messages"][0].as_py()).messages == [USER, ANSWER]
    (tmp_path / "validation.jsonl").write_text(json.dumps({"prompt": "How deep?"}) + "\n")
    with pytest.raises(DataError, match=r"data.validation: data.columns.completion: not set, and the columns 'prompt'"):
        prepared(tmp_path / "a", {"messages": [SYSTEM, USER, ANSWER]}, **validation)


def test_texts_are_continued_only_if_asked_for() -> None:
    table, places = pa.table({"text": ["How deep?"], "__file": ["q"], "__row": [1]}), {"train": "-"}
    with pytest.raises(DataError, match=r"data.columns.prompt: not set"):
        inference_rows(table, DataConfig.model_validate(places), CONVERSATION, {}, "INPUT", labelled=False)
    config = DataConfig.model_validate(places | {"columns": {"text": "text"}})
    found, _ = inference_rows(table, config, CONVERSATION, {}, "INPUT", labelled=False)
    assert from_json(found["messages"][0].as_py()).text == "How deep?"
