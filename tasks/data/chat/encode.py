"""Tokenization of conversations: the chosen turns of the assistant are trained, all else is read."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.chat.rows import from_json
from tasks.data.chat.template import Span, Template
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches

IGNORED = -100


def encode_conversation(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages` as the tokenizer's chat template renders them.

    Args:
        shape: `max_length`, `overlong`, and `train_on`; see `Template.render`.

    Returns:
        `input_ids` and `labels` (lists of int32): -100 for tokens that are not trained. A token is trained if it begins
        within a trained span.

    Raises:
        DataError: the template cannot render a row; `overlong` is `error` and there are overlong rows.
    """
    template, length = Template(tokenizer), shape["max_length"]
    found = Windows(("input_ids", "labels"))
    nothing: list[int] = []
    for start, batch in batches(rows):
        for at, text in enumerate(batch["messages"].to_pylist(), start):
            try:
                whole = template.render(from_json(text), shape.get("train_on"))
            except ConfigError as error:
                raise DataError(f"{field}: {error}: {rows_at(rows, [at])}") from error
            ids, offsets = _tokens(tokenizer, whole.text)
            labels = _labels(ids, offsets, whole.spans)
            over = len(ids) > length
            if (labels[:length] == IGNORED).all() and not (over and shape["overlong"] in ("drop", "error")):
                nothing.append(at)
                continue
            piece = Piece({"input_ids": ids[:length], "labels": labels[:length].tolist()})
            found.add(at, [piece] * (2 if over else 1), shape["overlong"])
    found.refuse(rows, shape, field)
    what = "without a token to learn from within data.max_length"
    notices = (f"{field}: {count(len(nothing), 'row')} {what}, dropped: {rows_at(rows, nothing)}",) if nothing else ()
    return found.encoded(rows, {}, notices)


def encode_chat_prompt(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages` with the beginning of an answer, for generation.

    Returns:
        `input_ids` (list of int32); an overlong conversation keeps its end.
    """
    template, length = Template(tokenizer), shape["max_length"]
    found = Windows(("input_ids",))
    for start, batch in batches(rows):
        for at, text in enumerate(batch["messages"].to_pylist(), start):
            given = from_json(text)
            ids, _ = _tokens(tokenizer, template.text(given.messages, given.tools, answer=True))
            found.add(at, [Piece({"input_ids": ids[-length:]})] * (2 if len(ids) > length else 1), "truncate")
    return found.encoded(rows, {})


def _tokens(tokenizer: Any, text: str) -> tuple[list[int], Sequence[Span]]:
    core = tokenizer.backend_tokenizer
    core.no_padding()
    core.no_truncation()
    encoded = core.encode(text, add_special_tokens=False)
    return encoded.ids, encoded.offsets


def _labels(ids: Sequence[int], offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    starts = [start for start, _ in spans]
    labels = np.full(len(ids), IGNORED, dtype=np.int32)
    for at, (first, _) in enumerate(offsets):
        place = bisect_right(starts, first) - 1
        if place >= 0 and first < spans[place][1]:
            labels[at] = ids[at]
    return labels
