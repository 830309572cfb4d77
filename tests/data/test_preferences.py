"""Rows of preferences, in every common format, become two conversations with the tokens of their answers marked."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.chat import rows as conversations
from tasks.data.chat.encode_preferences import _others, encode_preference, encode_rated
from tasks.data.chat.formats import Unreadable
from tasks.data.chat.preferences import preference, prepare, prepare_rated, prepare_scores, rated
from tasks.data.chat.rows import from_json
from tasks.data.rows.columns import CONVERSATION, MARGIN, PREFERENCE, RATED
from tests.real.table import DATA
from tests.tiny import make_chat

ASKED = {"role": "user", "content": "2 + 2?"}
SYSTEM = {"role": "system", "content": "be brief"}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


FORMATS = {
    "explicit": {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
    "explicit-messages": {"prompt": [ASKED], "chosen": [answer("4")], "rejected": [answer("5")]},
    "implicit": {"chosen": [ASKED, answer("4")], "rejected": [ASKED, answer("5")]},
    "implicit-beside-a-prompt": {"prompt": "2 + 2?", "chosen": [ASKED, answer("4")], "rejected": [ASKED, answer("5")]},
    "sharegpt": {"messages": [{"from": "human", "value": "2 + 2?"}], "chosen": {"from": "gpt", "value": "4"},
                 "rejected": {"from": "gpt", "value": "5"}},
    "implicit-as-json": {"chosen": json.dumps([ASKED, answer("4")]), "rejected": json.dumps([ASKED, answer("5")])},
    "explicit-as-json": {"prompt": json.dumps([ASKED]), "chosen": json.dumps(answer("4")), "rejected": "5"},
    "all-messages-beside": {"messages": [ASKED, answer("4")], "chosen": [ASKED, answer("4")],
                            "rejected": [ASKED, answer("5")]},
    "alpaca": {"prompt": "2 +", "input": "2?", "chosen": "4", "rejected": "5"},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_one_meaning_in_every_format(name: str) -> None:
    chosen, rejected = preference(FORMATS[name])
    asked = "2 +\n2?" if name == "alpaca" else "2 + 2?"
    assert chosen.messages == [{"role": "user", "content": asked}, answer("4")]
    assert rejected.messages == [{"role": "user", "content": asked}, answer("5")]
    assert chosen.given == rejected.given == 1


def test_several_turns_and_a_system_message() -> None:
    turns = [SYSTEM, ASKED, answer("4"), {"role": "user", "content": "sure?"}]
    chosen, rejected = preference({"messages": turns, "chosen": "yes", "rejected": "no"})
    assert (chosen.messages[:-1], chosen.given, rejected.messages[-1]) == (turns, 4, answer("no"))
    with_system, _ = preference({"prompt": "2 + 2?", "system": "be brief", "chosen": "4", "rejected": "5"})
    assert with_system.messages == [SYSTEM, ASKED, answer("4")]
    whole, _ = preference({"prompt": "2 + 2?", "system": "be brief", "chosen": [ASKED, answer("4")],
                           "rejected": [ASKED, answer("5")]})  # fmt: skip
    assert (whole.messages, whole.given) == ([SYSTEM, ASKED, answer("4")], 2)
    longer, _ = preference({"chosen": [ASKED, answer("4"), ASKED, answer("4")],
                            "rejected": [ASKED, answer("4"), ASKED, answer("5")]})  # fmt: skip
    assert longer.given == 3


@pytest.mark.parametrize(("row", "why"), [
    ({"prompt": "a", "chosen": "", "rejected": "b"}, "chosen answer is empty"),
    ({"prompt": "a", "chosen": "b", "rejected": None}, "rejected answer is empty"),
    ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected answers are equal"),
    ({"prompt": "", "chosen": "b", "rejected": "c"}, "prompt is empty"),
    ({"chosen": "b", "rejected": "c"}, "there is no prompt"),
    ({"chosen": [ASKED, answer("4")], "rejected": [SYSTEM, answer("5")]}, "no common beginning"),
    ({"prompt": "3 + 3?", "chosen": [ASKED, answer("4")], "rejected": [ASKED, answer("5")]}, "another prompt"),
    ({"prompt": "a", "chosen": [answer("4")], "rejected": [ASKED, answer("5")]}, "no common beginning"),
    ({"prompt": "a", "chosen": " ", "rejected": "b"}, "chosen answer is empty"),
    ({"prompt": [SYSTEM, ASKED], "chosen": [ASKED, answer("4")], "rejected": [ASKED, answer("5")]}, "another prompt"),
    ({"prompt": "2 + 2?", "history": [["a", "b"]], "chosen": [ASKED, answer("4")], "rejected": [ASKED, answer("5")]},
     "another prompt"),
    ({"chosen": [SYSTEM, ASKED, answer("4")], "rejected": [SYSTEM, {"role": "user", "content": "3?"}, answer("5")]},
     "differ before an answer"),
    ({"messages": [ASKED, answer("4")], "chosen": "4", "rejected": "5"}, "end with another answer"),
    ({"prompt": "a", "chosen": str([answer("4")]), "rejected": str([answer("5")])}, "chosen is a list .* Python's"),
    ({"prompt": "a", "chosen": [{"role": "tool", "content": "4"}], "rejected": "5"}, "chosen answer is not by"),
])  # fmt: skip
def test_what_is_no_preference(row: Mapping[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        preference(row)


@pytest.mark.parametrize(("label", "means"), [
    (True, True), (False, False), (1, True), (0, False), (1.0, True), ("true", True), ("False", False), ("no", False),
])  # fmt: skip
def test_labels_of_single_answers(label: Any, means: bool) -> None:
    found, desirable = rated({"messages": [ASKED, answer("4")], "label": label})
    assert (desirable, found.given) == (means, 1)


def test_a_label_that_is_none() -> None:
    for label in (None, 2, "good", 0.5):
        with pytest.raises(Unreadable, match="valid are true and false"):
            rated({"prompt": "a", "completion": "b", "label": label})


def table(rows: list[dict[str, Any]]) -> pa.Table:
    lineage = {"__file": ["rows.jsonl"] * len(rows), "__row": list(range(1, len(rows) + 1))}
    return pa.table({**{name: [row[name] for row in rows] for name in rows[0]}, **lineage})


def data(**columns: str) -> DataConfig:
    return DataConfig(train="rows.jsonl", split={"validation": 0.0}, columns=columns)


def test_messages_take_precedence_over_a_prompt() -> None:
    """LLaMA-Factory's examples have both: all turns, and the text of the last one."""
    row = {"messages": [SYSTEM, ASKED], "prompt": "2 + 2?", "chosen": "4", "rejected": "5", "id": 7}
    found = prepare({"train": table([row])}, data(), PREFERENCE)
    assert from_json(found.splits["train"]["chosen"][0].as_py()).messages == [SYSTEM, ASKED, answer("4")]
    assert found.columns == {"messages": "messages", "chosen": "chosen", "rejected": "rejected"}
    assert found.splits["train"]["id"].to_pylist() == [7]
    assert found.head == {"labels": None, "problem_type": None}
    alone = prepare({"train": table([row])}, data(prompt="prompt"), PREFERENCE)
    assert from_json(alone.splits["train"]["chosen"][0].as_py()).messages == [ASKED, answer("4")]


def test_unreadable_rows_are_all_named() -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b", "rejected": "b"},
            {"prompt": "a", "chosen": "", "rejected": "b"},
            {"prompt": "c", "chosen": "d", "rejected": "d"}]  # fmt: skip
    with pytest.raises(DataError) as error:
        prepare({"train": table(rows)}, data(), PREFERENCE)
    assert str(error.value).splitlines() == [
        "data.train: 2 rows whose chosen and rejected answers are equal: rows.jsonl:2, rows.jsonl:4",
        "data.train: 1 row whose chosen answer is empty: rows.jsonl:3",
    ]


def test_margins() -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "margin": 2}]
    roles = (*PREFERENCE, MARGIN)
    found = prepare_scores({"train": table(rows)}, data(), roles)
    assert found.splits["train"]["margin"].to_pylist() == [2.0]
    assert found.head == {"labels": None, "problem_type": "regression"}
    for value in (None, float("inf"), float("nan")):
        with pytest.raises(DataError, match=r"margin is missing or not finite: rows.jsonl:2"):
            prepare_scores({"train": table([*rows, rows[0] | {"margin": value}])}, data(), roles)
    with pytest.raises(DataError, match=r"data.columns.margin: column 'margin' of data.train has values that are no"):
        prepare_scores({"train": table([rows[0] | {"margin": "much"}])}, data(), roles)


def test_answers_of_one_kind_only() -> None:
    rows = [{"prompt": f"a {at}", "completion": "b", "label": True} for at in range(3)]
    found = prepare_rated({"train": table(rows)}, data(), RATED)
    assert any("all answers are desirable" in line for line in found.warnings)
    rows[0]["label"] = False
    assert not prepare_rated({"train": table(rows)}, data(), RATED).warnings


def test_several_answers_to_a_prompt_are_no_duplicates() -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": one} for one in ("c", "d", "c")]
    exact = data().model_copy(update={"dedupe": "exact"})
    found = prepare({"train": table(rows)}, exact, PREFERENCE)
    assert (found.splits["train"]["__row"].to_pylist(), found.dropped) == ([1, 2], 1)
    assert "data.train: 1 row repeats an earlier one exactly: rows.jsonl:3" in found.warnings
    said = [("b", True), ("c", False), ("b", True), ("b", False)]
    labelled = [{"prompt": "a", "completion": text, "label": label} for text, label in said]
    found = prepare_rated({"train": table(labelled)}, exact, RATED)
    assert (found.splits["train"]["__row"].to_pylist(), found.dropped) == ([1, 2, 4], 1)
    assert any(line.startswith("data.train: 3 rows whose text also has a different label") for line in found.warnings)
    talks = [{"prompt": "a", "completion": text} for text, _ in said]
    assert conversations.prepare({"train": table(talks)}, exact, CONVERSATION).dropped == 2


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(make_chat(tmp_path_factory.mktemp("preferences") / "chat"))


def marked(tokenizer: Any, ids: list[int], mask: list[int]) -> tuple[str, str]:
    """The text of all tokens, and of the marked ones."""
    return tokenizer.decode(ids), tokenizer.decode([one for one, kept in zip(ids, mask, strict=True) if kept])


def encoded(tokenizer: Any, rows: list[dict[str, Any]], **shape: Any) -> Any:
    prepared = prepare({"train": table(rows)}, data(), PREFERENCE).splits["train"]
    return encode_preference(
        prepared, tokenizer, {"max_length": 32, "overlong": "truncate"} | shape, "data.train", False
    )


def test_the_tokens_of_answers_are_marked(tokenizer: Any) -> None:
    found = encoded(tokenizer, [{"prompt": "ren tum", "chosen": "bal", "rejected": "tum tum"}]).table
    (row,) = found.to_pylist()
    whole, answers = marked(tokenizer, row["chosen_input_ids"], row["chosen_completion_mask"])
    assert whole.split("ren tum")[1].endswith(answers) and answers.split() == ["bal", "<|end|>"]
    _, answers = marked(tokenizer, row["rejected_input_ids"], row["rejected_completion_mask"])
    assert answers.split() == ["tum", "tum", "<|end|>"]
    assert found.schema.field("chosen_completion_mask").type == pa.list_(pa.int8())


def test_answers_beyond_the_limit(tokenizer: Any) -> None:
    rows = [{"prompt": "ren", "chosen": "bal", "rejected": "tum"},
            {"prompt": "ren " * 20, "chosen": "bal", "rejected": "tum"},
            {"prompt": "tum", "chosen": "bal", "rejected": "tum " * 20},
            {"prompt": "bal", "chosen": "ren " * 20 + "bal", "rejected": "ren " * 20 + "tum"},
            {"prompt": "sal", "chosen": "ren ", "rejected": " ren"}]  # fmt: skip
    found = encoded(tokenizer, rows, max_length=12)
    assert found.table["__origin"].to_pylist() == [0, 2]
    assert found.notices == ("data.train: 3 rows with an answer without a token, or with equal answers, within "
                             "data.max_length, dropped: rows.jsonl:2, rows.jsonl:4, rows.jsonl:5",)  # fmt: skip
    assert (found.overlong, found.dropped) == (1, 3)
    assert encoded(tokenizer, rows, max_length=12, overlong="drop").table["__origin"].to_pylist() == [0]
    with pytest.raises(DataError, match=r"3 rows of 5 are longer than data.max_length = 12 tokens"):
        encoded(tokenizer, rows, max_length=12, overlong="error")


def test_mismatched_answers_are_those_of_another_prompt(tokenizer: Any) -> None:
    rows = [{"prompt": "ren", "completion": "bal", "label": True},
            {"prompt": "ren", "completion": "tum", "label": False},
            {"prompt": "tum", "completion": "ren", "label": True}]  # fmt: skip
    prepared = prepare_rated({"train": table(rows)}, data(), RATED).splits["train"]
    shape = {"max_length": 32, "overlong": "truncate"}
    found = encode_rated(prepared, tokenizer, shape, "data.train", False).table.to_pylist()
    texts = [marked(tokenizer, row["rejected_input_ids"], row["rejected_completion_mask"]) for row in found]
    assert [answer.split()[0] for _, answer in texts] == ["ren", "ren", "bal"]
    assert [row["desirable"] for row in found] == [1, 0, 1]
    prepared = prepare_rated({"train": table([*rows, rows[0] | {"prompt": "sal", "completion": "bal " * 40}])}, data(),
                             RATED).splits["train"]  # fmt: skip
    found = encode_rated(prepared, tokenizer, shape | {"overlong": "drop"}, "data.train", False)
    assert (found.table["__origin"].to_pylist(), found.overlong) == ([0, 1, 2], 1), "a row counts by its own answer"


@pytest.mark.parametrize(("prompts", "others"), [
    ("aab", [2, 2, 0]), ("aba", [1, 2, 1]), ("aa", [0, 1]), ("abbb", [1, 0, 0, 0]), ("a", [0]),
])  # fmt: skip
def test_the_next_row_with_another_prompt(prompts: str, others: list[int]) -> None:
    assert _others([*prompts]) == others


def test_real_preferences() -> None:
    import pyarrow.parquet as pq

    if not DATA.exists():
        pytest.skip(f"the real sets are not at {DATA}; set FINETUNE_TEST_DATA")

    def rows(name: str) -> pa.Table:
        found = pq.read_table(DATA / name / "train.parquet")
        lineage = {"__file": pa.array([name] * found.num_rows), "__row": pa.array(range(1, found.num_rows + 1))}
        return pa.table({**{column: found[column] for column in found.column_names}, **lineage})

    pairs = prepare({"train": rows("dpo_en_demo")}, data(), PREFERENCE).splits["train"]
    assert pairs.num_rows == 240
    assert {from_json(text).messages[0]["role"] for text in pairs["chosen"].to_pylist()} == {"system", "user"}
    single = prepare_rated({"train": rows("kto_en_demo")}, data(), RATED).splits["train"]
    assert single.num_rows == 240 and set(single["label"].to_pylist()) == {0, 1}
