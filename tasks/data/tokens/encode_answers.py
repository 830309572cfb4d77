"""Tokenization for extractive question answering: windows of question and context with the answer's position."""

from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches, encode_windows, stride_of


def encode_answers(rows: pa.Table, tokenizer: Any, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `question` and `context`; long contexts become windows that overlap by `stride` tokens.

    The first answer is the training target. If a window does not contain it completely, or there is none, both
    positions are those of the CLS token, or 0 if the tokenizer has none (as in transformers' run_qa).

    Returns:
        `input_ids`, optionally `token_type_ids`, `start_positions`, `end_positions` (int64, token positions), and for
        rows to evaluate `__text` (the window's part of the context), `__offsets` (two per token: its start and end in
        `__text`, -1 outside the context) and `__answers`.

    Raises:
        DataError: a question leaves no room for its context, or `overlong` is `error` and there are overlong rows.
        ConfigError: training questions have no answer, and the tokenizer has no CLS token.
    """
    refuse_questions(rows, tokenizer, shape, field, labelled)
    left = tokenizer.padding_side == "left"
    names = ["input_ids"] + ["token_type_ids"] * ("token_type_ids" in tokenizer.model_input_names)
    known = "answers" in rows.column_names
    found = Windows([*names, "__span", *(["__offsets"] if labelled else [])])
    texts: list[str] = []
    for start, batch in batches(rows):
        contexts = batch["context"].to_pylist()
        answers = batch["answers"].to_pylist() if known else [{"text": []}] * len(contexts)
        questions = [question.lstrip() for question in batch["question"].to_pylist()]
        pairs = [(c, q) if left else (q, c) for q, c in zip(questions, contexts, strict=True)]
        encoded = encode_windows(tokenizer, pairs, shape, "only_first" if left else "only_second", offsets=True)
        for at, pieces in enumerate(encoded):
            placed = [_with_span(piece, answers[at], 0 if left else 1, tokenizer.cls_token_id) for piece in pieces]
            before = len(found.origins)
            found.add(start + at, placed, shape["overlong"])
            if labelled:
                kept = placed[: len(found.origins) - before]
                texts += [contexts[at][piece.values["__from"][0] : piece.values["__from"][1]] for piece in kept]
    found.refuse(rows, shape, field)
    more: dict[str, Any] = {}
    if labelled:
        more["__text"] = lambda _: pa.array(texts, pa.string())
    if labelled and known:
        more["__answers"] = lambda origins: pa.array(_texts(rows).take(origins))
    encoded = found.encoded(rows, more)
    table = _positions(encoded.table) if known else encoded.table.drop_columns(["__span"])
    return Encoded(table, encoded.overlong, encoded.dropped)


def _refuse_unanswered(rows: pa.Table, field: str) -> None:
    unanswered = [at for at, texts in enumerate(_texts(rows).to_pylist()) if not texts]
    if unanswered:
        raise ConfigError(f"model.name: {field} has {count(len(unanswered), 'question')} without an answer "
                          f"({rows_at(rows, unanswered)}), for which question-answering needs a tokenizer with a CLS "
                          "token, and this base's has none; use another base, or remove them")  # fmt: skip


def _texts(rows: pa.Table) -> pa.Array:
    return rows["answers"].combine_chunks().field("text")


def _positions(table: pa.Table) -> pa.Table:
    """Replace the span column by start and end positions."""
    flat = table["__span"].combine_chunks().values.to_numpy().reshape(-1, 2).astype(np.int64)
    table = table.drop_columns(["__span"])
    return table.append_column("start_positions", pa.array(flat[:, 0])).append_column(
        "end_positions", pa.array(flat[:, 1])
    )


def _with_span(piece: Any, answers: dict[str, Any], part: int, cls: int) -> Piece:
    """Return a window with the answer's token span and character offsets."""
    encoding, ids = piece.encoding, piece.values["input_ids"]
    inside = np.asarray([sequence == part for sequence in encoding.sequence_ids])
    offsets = np.asarray(encoding.offsets, dtype=np.int64)
    within = np.flatnonzero(inside)
    no_answer = ids.index(cls) if cls in ids else 0
    span = [no_answer, no_answer]
    low = int(offsets[within[0], 0]) if len(within) else 0
    high = int(offsets[within[-1], 1]) if len(within) else 0
    if answers["text"] and len(within):
        start = answers["answer_start"][0]
        end = start + len(answers["text"][0])
        if low <= start and end <= high:
            span = [
                int(within[np.searchsorted(offsets[within, 0], start, side="right") - 1]),
                int(within[np.searchsorted(offsets[within, 1], end, side="left")]),
            ]
    shifted = np.where(inside[:, None], offsets - low, -1).astype(np.int32)
    known = {"input_ids": ids, "token_type_ids": encoding.type_ids}
    return Piece({**known, "__span": span, "__offsets": shifted.ravel(), "__from": (low, high)})


def refuse_questions(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> None:
    """Refuse questions that cannot be encoded.

    Raises:
        DataError: a question leaves no room for its context.
        ConfigError: training questions have no answer, and the tokenizer has no CLS token.
    """
    if not labelled and tokenizer.cls_token is None:
        _refuse_unanswered(rows, field)
    room = shape["max_length"] - tokenizer.num_special_tokens_to_add(pair=True) - stride_of(shape) - 1
    core: Any = tokenizer.backend_tokenizer
    core.no_truncation()
    core.no_padding()
    long: list[int] = []
    for start, batch in batches(rows):
        questions = [question.lstrip() for question in batch["question"].to_pylist()]
        encoded = core.encode_batch_fast(questions, add_special_tokens=False)
        long += [start + at for at, each in enumerate(encoded) if len(each.ids) > room]
    if long:
        raise DataError(
            f"{field}: {count(len(long), 'row')} whose question leaves no room for its context in data.max_length = "
            f"{shape['max_length']} tokens with data.stride = {stride_of(shape)}: {rows_at(rows, long)}; raise "
            "data.max_length, lower data.stride, or shorten them"
        )
