"""Token rows of conversations: what is trained, cut and dropped; and packed rows, which train as rows alone do."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.config.errors import DataError
from tasks.data.chat.encode import encode_chat_prompt, encode_conversation
from tasks.data.chat.formats import Conversation
from tasks.data.chat.pack import pack_conversations
from tasks.data.chat.rows import to_json
from tasks.data.tokens.collate import ConversationBatch
from tasks.data.tokens.dataset import TokenRows
from tests.tiny import WORDS, make_chat

SHAPE = {"max_length": 32, "overlong": "truncate", "train_on": None}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("chat") / "base", dropout=0.0)


def rows_of(*turns: list[str]) -> pa.Table:
    """Conversations of these contents, the user's and the assistant's in turn."""
    found = [Conversation([{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(each)])
             for each in turns]  # fmt: skip
    count = len(found)
    return pa.table({"messages": [to_json(each) for each in found], "__file": ["a.jsonl"] * count,
                     "__row": pa.array(range(1, count + 1), pa.int64())})  # fmt: skip


def encoded(chat: Path, rows: pa.Table, **shape: Any) -> Any:
    return encode_conversation(rows, AutoTokenizer.from_pretrained(chat), SHAPE | shape, "data.train", False)


def words_of(chat: Path, found: Any, row: int = 0) -> str:
    """The trained tokens of a row as text."""
    labels = [token for token in found.table["labels"][row].as_py() if token != -100]
    return AutoTokenizer.from_pretrained(chat).decode(labels)


def test_answers_are_trained_with_their_end(chat: Path) -> None:
    rows = rows_of([WORDS[0], f"{WORDS[1]} {WORDS[2]}", WORDS[3], WORDS[4]])
    assert words_of(chat, encoded(chat, rows)) == f"{WORDS[1]} {WORDS[2]} <|end|> {WORDS[4]} <|end|>"
    assert words_of(chat, encoded(chat, rows, train_on="last_turn")) == f"{WORDS[4]} <|end|>"
    found = encoded(chat, rows, train_on="all")
    assert found.table["labels"].to_pylist() == found.table["input_ids"].to_pylist()


def test_a_prompt_ends_where_an_answer_begins(chat: Path) -> None:
    rows, tokenizer = rows_of([WORDS[0], WORDS[1]]), AutoTokenizer.from_pretrained(chat)
    whole, labels = (encoded(chat, rows).table[name][0].as_py() for name in ("input_ids", "labels"))
    given = encode_chat_prompt(rows_of([WORDS[0]]), tokenizer, SHAPE, "INPUT", False).table["input_ids"][0].as_py()
    assert given == whole[: next(at for at, label in enumerate(labels) if label != -100)]


def test_what_is_too_long(chat: Path) -> None:
    rows = rows_of([WORDS[0], WORDS[1]], [" ".join(WORDS[:30]), WORDS[2]], [WORDS[0], " ".join(WORDS[:30])])
    cut = encoded(chat, rows)
    assert cut.overlong == 1 and cut.table["__row"].to_pylist() == [1, 3]
    assert cut.notices == (
        "data.train: 1 row without a token to learn from within data.max_length, dropped: a.jsonl:2",
    )
    assert words_of(chat, cut, 1).split() == WORDS[:24]
    dropped = encoded(chat, rows, overlong="drop")
    assert dropped.table["__row"].to_pylist() == [1] and (dropped.overlong, dropped.dropped) == (2, 2)
    with pytest.raises(DataError, match=r"2 rows of 3 are longer than data.max_length = 32 tokens, at a.jsonl:2"):
        encoded(chat, rows, overlong="error")


def test_a_row_that_the_template_cannot_render(chat: Path) -> None:
    rows = rows_of([WORDS[0], WORDS[1]])
    called = to_json(Conversation([{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]))
    rows = pa.concat_tables([rows, rows.set_column(0, "messages", pa.array([called]))])
    with pytest.raises(
        DataError, match=r"data.train: model.chat_template: it cannot render .*user, assistant.*a.jsonl:1"
    ):
        encoded(chat, rows)


@pytest.mark.parametrize("train_on", [None, "all"])
def test_packed_rows_train_as_rows_alone(train_on: str | None, chat: Path) -> None:
    rows = rows_of(*([" ".join(WORDS[at : at + 3]), " ".join(WORDS[at : at + size])] for at, size in
                     enumerate((1, 5, 2, 7, 3, 4))))  # fmt: skip
    alone = encoded(chat, rows, train_on=train_on).table
    packed = pack_conversations([alone], SHAPE | {"packing": True}, "data.train").table
    assert (
        packed.num_rows < alone.num_rows and max(packed["input_ids"].combine_chunks().value_lengths().to_pylist()) <= 32
    )
    for name in ("input_ids", "labels"):
        flat = [sorted(table[name].combine_chunks().flatten().to_pylist()) for table in (packed, alone)]
        assert flat[0] == flat[1], "no token is lost"
    losses, gradients = zip(*(loss_and_gradient(chat, table) for table in (packed, alone)), strict=True)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)
    assert pack_conversations([alone], SHAPE, "data.train").table.equals(alone)


def loss_and_gradient(chat: Path, table: pa.Table) -> tuple[float, torch.Tensor]:
    """Of the sum over all trained tokens."""
    model = AutoModelForCausalLM.from_pretrained(chat)
    view, collate = TokenRows(table, {}, 0, {}), ConversationBatch({"pad_token_id": 0, "padding_side": "right"})
    total = torch.zeros(())
    for at in range(table.num_rows):
        total = total + model(**collate([view[at]]), num_items_in_batch=1, use_cache=False).loss
    total.backward()
    return float(total.detach()), torch.cat(
        [each.grad.flatten() for each in model.parameters() if each.grad is not None]
    )


def test_rows_of_several_lengths_are_padded() -> None:
    rows = [{"input_ids": np.array([5, 6, 7]), "labels": np.array([-100, 6, 7])},
            {"input_ids": np.array([8]), "labels": np.array([8])}]  # fmt: skip
    batch = ConversationBatch({"pad_token_id": 0, "padding_side": "right"})(rows)
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
