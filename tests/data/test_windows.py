"""Token rows of long texts: every window is a whole row, and no row is one that nothing can be learnt from."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from tasks.data.tokens.encode import Encoded
from tasks.data.tokens.encode_stream import encode_stream, merge_masked, merge_stream
from tasks.data.tokens.encode_words import encode_words
from tests.tiny import WORDS, make_decoder

SHAPE = {"max_length": 8, "overlong": "window", "merge": "none"}


def rows_of(**columns: list[Any]) -> pa.Table:
    size = len(next(iter(columns.values())))
    return pa.table(columns | {"__file": ["a.txt"] * size, "__row": list(range(1, size + 1))})


def masked(bert: Path, texts: list[str], **more: Any) -> tuple[Encoded, Any]:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    shape = SHAPE | {"special_ids": sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})} | more
    encoded = encode_stream(rows_of(text=texts), tokenizer, shape, "data.train", False)
    return merge_masked([encoded.table], shape, "data.train"), tokenizer


@pytest.mark.parametrize("words", range(5, 30))
def test_a_window_of_a_masked_model_is_a_whole_row(words: int, bert: Path) -> None:
    found, tokenizer = masked(bert, [" ".join(WORDS[:words])])
    rows = found.table["input_ids"].to_pylist()
    body = [token for row in rows for token in row[1:-1]]
    assert tokenizer.convert_ids_to_tokens(body) == WORDS[:words]
    assert all((row[0], row[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id) for row in rows)
    assert all(3 <= len(row) <= 8 for row in rows) and found.overlong == (words > 6)


def test_a_text_that_is_cut_keeps_its_end_token(bert: Path) -> None:
    found, tokenizer = masked(bert, [" ".join(WORDS[:20])], overlong="truncate")
    (row,) = found.table["input_ids"].to_pylist()
    assert tokenizer.convert_ids_to_tokens(row) == ["[CLS]", *WORDS[:6], "[SEP]"]


def test_a_row_without_a_token_to_mask_is_left_out_and_named(bert: Path) -> None:
    found, _ = masked(bert, ["balen koral", "\u200b", " ".join(WORDS[:9])])
    assert found.table["__row"].to_pylist() == [1, 3, 3] and found.dropped == 1
    assert found.notices == ("data.train: 1 row without a token that can be masked, dropped: a.txt:2",)


@pytest.mark.parametrize("packing", [False, True])
def test_a_token_that_nothing_follows_is_left_out(packing: bool, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_decoder(tmp_path / "decoder"))
    shape = SHAPE | {"packing": packing, "max_length": 4, "append_eos": False}
    encoded = encode_stream(rows_of(text=[" ".join(WORDS[:5]), " ".join(WORDS[:2])]), tokenizer, shape, "f", False)
    found = merge_stream([encoded.table], shape, "f")
    assert sorted(len(row) for row in found.table["input_ids"].to_pylist()) == ([3, 4] if packing else [2, 4])
    assert not found.notices, "a row of which something is left is not lost"
    alone = encode_stream(rows_of(text=["balen"]), tokenizer, shape, "f", False)
    none = merge_stream([alone.table], shape, "f")
    assert none.table.num_rows == 0 and "a next token to predict, dropped: a.txt:1" in none.notices[0]


@pytest.mark.parametrize("words", range(5, 30))
@pytest.mark.parametrize("packing", [False, True])
def test_a_window_of_a_causal_model_begins_as_every_text_does(words: int, packing: bool, tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = AutoTokenizer.from_pretrained(make_decoder(tmp_path / "decoder"))
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    shape = SHAPE | {"packing": packing, "append_eos": True}
    encoded = encode_stream(rows_of(text=[" ".join(WORDS[:words])]), tokenizer, shape, "f", False)
    rows = merge_stream([encoded.table], shape, "f").table["input_ids"].to_pylist()
    rows = sorted(rows, key=lambda row: WORDS.index(tokenizer.convert_ids_to_tokens(row[1])))
    assert all(row[0] == bos and len(row) <= 8 and row != [bos, eos] for row in rows)
    body = [token for row in rows for token in row[1:]]
    ended = body[-1] == eos
    assert tokenizer.convert_ids_to_tokens(body[: len(body) - ended]) == WORDS[:words]
    assert ended == (words % 7 != 0), "only the last window ends, unless the end would stand in it alone"


def test_a_window_of_words_labels_some(bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert)
    rows = rows_of(tokens=[["\u200b"], [*WORDS[:9]]], tags=[[1], [0] * 9])
    shape = {"max_length": 8, "overlong": "window", "stride": 2}
    found = encode_words(rows, tokenizer, shape, "data.train", False)
    labels = found.table["labels"].to_pylist()
    assert all(any(label != -100 for label in row) for row in labels)
    assert sum(label != -100 for row in labels for label in row) == 9
    assert found.notices == ("data.train: 1 row whose words all have no tokens, dropped: a.txt:1",)
    assert encode_words(rows, tokenizer, shape, "data.validation", True).table["__row"].to_pylist()[0] == 1
