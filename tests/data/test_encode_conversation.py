"""Token rows of conversations: what is trained, cut and dropped; and packed rows, which train as rows alone do."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.terminal.rendered import show_rendered
from tasks.config.errors import ConfigError, DataError
from tasks.data.chat.encode import encode_chat_prompt, encode_conversation
from tasks.data.chat.formats import Conversation
from tasks.data.chat.pack import pack_conversations
from tasks.data.chat.preview import RenderedRow, rendered_row
from tasks.data.chat.rows import to_json
from tasks.data.chat.template import ends
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
    assert cut.overlong == 2 and cut.trained == (2 + 2 + 31, 2 + 7) and cut.table["__row"].to_pylist() == [1, 3]
    assert cut.notices == (
        "data.train: 1 row without a token to learn from within data.max_length, dropped: a.jsonl:2",
    )
    assert words_of(chat, cut, 1).split() == WORDS[:24]
    dropped = encoded(chat, rows, overlong="drop")
    assert dropped.table["__row"].to_pylist() == [1] and (dropped.overlong, dropped.dropped) == (2, 2)
    assert dropped.trained == (2 + 2 + 31, 2 + 31)
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


def test_a_row_is_shown_as_it_is_trained(chat: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat)
    rows = rows_of([" ".join(WORDS[:40]), WORDS[0]], [WORDS[0], f"{WORDS[1]} {WORDS[2]}", WORDS[3], WORDS[4]])
    found = rendered_row(rows, tokenizer, SHAPE)
    assert found.row == "a.jsonl:2", "the first row in which something is trained"
    assert [found.text[start:end] for start, end in found.spans] == [
        f"{WORDS[1]} {WORDS[2]}<|end|>", f"{WORDS[4]}<|end|>",
    ]  # fmt: skip
    assert found.text == f"[user] {WORDS[0]}<|end|>\n[assistant] {WORDS[1]} {WORDS[2]}<|end|>\n[user] {WORDS[3]}" \
        f"<|end|>\n[assistant] {WORDS[4]}<|end|>\n"  # fmt: skip
    assert (found.tokens, found.trained, found.removed) == (21, 5, 0)
    cut = rendered_row(rows, tokenizer, SHAPE | {"max_length": 10})
    assert cut.text.endswith(f"[assistant] {WORDS[1]} {WORDS[2]}") and cut.removed == 11
    assert (cut.spans, cut.trained) == ([(cut.text.index(WORDS[1]), len(cut.text))], 2)
    none = rendered_row(rows.slice(0, 1), tokenizer, SHAPE)
    assert (none.row, none.spans, none.trained) == ("a.jsonl:1", [], 0)


def test_a_long_row_is_shown_without_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a" * 1000 + "b" * 1000 + "\x1b" + "c" * 999
    show_rendered(RenderedRow("a.jsonl:1", text, [(900, 1300), (2500, 2600)], 3000, 500, 7))
    told, shown, *more = capsys.readouterr().out.splitlines()
    assert told == ("a training row (a.jsonl:1): 3,000 tokens, the 500 trained ones between [[ and ]]; 7 more are cut "
                    "off (data.max_length)")  # fmt: skip
    assert shown == "a" * 900 + "[[" + "a" * 100 + "b" * 200 + "]] … 1,200 characters … " + "c" * 100 + "[[" \
        + "c" * 100 + "]]" + "c" * 400 and not more  # fmt: skip


def texts_of(*texts: str) -> pa.Table:
    rows, count = [to_json(Conversation((), text=text)) for text in texts], len(texts)
    return pa.table({"messages": rows, "__file": ["a.jsonl"] * count, "__row": pa.array(range(1, count + 1))})


@pytest.mark.parametrize("template", [True, False])
def test_raw_texts_are_trained_as_they_are_with_one_end(template: bool, chat: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat)
    tokenizer.chat_template = tokenizer.chat_template if template else None
    given = [f"{WORDS[0]} {WORDS[1]}", f"[user] {WORDS[0]}<|end|>", f"{WORDS[0]}<|end|>\n"]
    found = encode_conversation(texts_of(*given), tokenizer, SHAPE, "data.train", False)
    assert [tokenizer.decode(ids) for ids in found.table["input_ids"].to_pylist()] == [
        f"{WORDS[0]} {WORDS[1]} <|end|>", f"[ user ] {WORDS[0]} <|end|>".replace("[ user ]", "<unk> <unk> <unk>"),
        f"{WORDS[0]} <|end|>",
    ]  # fmt: skip
    assert found.table["labels"].equals(found.table["input_ids"])
    asked = encode_chat_prompt(texts_of(given[0]), tokenizer, SHAPE, "INPUT", False).table["input_ids"][0].as_py()
    assert asked == found.table["input_ids"][0].as_py()[:-1], "a prompt has no end"
    assert ends(tokenizer, [9]) == [9, tokenizer.eos_token_id]


def test_raw_texts_begin_with_one_bos(chat: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat)
    tokenizer.add_special_tokens({"bos_token": WORDS[9]})
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{WORDS[9]} $A", special_tokens=[(WORDS[9], bos)]
    )
    found = encode_conversation(texts_of(WORDS[0], WORDS[9] + WORDS[0]), tokenizer, SHAPE, "data.train", False)
    first, second = found.table["input_ids"].to_pylist()
    assert first == second and first[0] == bos and len(first) == 3


@pytest.mark.parametrize("train_on", ["assistant", "last_turn", "completion"])
def test_turns_of_a_raw_text_are_unknown(train_on: str, chat: Path) -> None:
    with pytest.raises(ConfigError, match=f"data.train_on: {train_on} given, but the rows are raw texts"):
        encoded(chat, texts_of(WORDS[0]), train_on=train_on)
    assert len(words_of(chat, encoded(chat, texts_of(WORDS[0]), train_on="all")).split()) == 2
