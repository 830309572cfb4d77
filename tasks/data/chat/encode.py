"""Tokenization of conversations: the chosen turns of the assistant are trained, all else is read."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import from_json
from tasks.data.chat.template import Renderer, Span
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches

IGNORED = -100


@dataclass(frozen=True)
class TokenizedRow:
    """A conversation as the template renders it.

    Attributes:
        ids: of its tokens. offsets: each token's characters in `text`. labels: as `encode_conversation` returns them.
    """

    text: str
    ids: Sequence[int]
    offsets: Sequence[Span]
    labels: np.ndarray


def encode_conversation(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages` as the tokenizer's chat template renders them, and raw texts.

    Args:
        shape: `max_length`, `overlong`, and `train_on`; see `Template.render`.

    Returns:
        `input_ids` and `labels` (lists of int32): -100 for tokens that are not trained. A token is trained if it begins
        within a trained span.

    Raises:
        DataError: the template cannot render a row; `overlong` is `error` and there are overlong rows.
        ConfigError: see `Renderer.check`.
    """
    renderer, length = Renderer(tokenizer, shape.get("train_on")), shape["max_length"]
    found = Windows(("input_ids", "labels"))
    nothing: list[int] = []
    trained = kept = 0
    for start, batch in batches(rows):
        for at, text in enumerate(batch["messages"].to_pylist(), start):
            given = from_json(text)
            renderer.check(given)
            try:
                row = tokenized(renderer, given)
            except ConfigError as error:
                raise DataError(f"{field}: {error}: {rows_at(rows, [at])}") from error
            ids, labels = row.ids, row.labels
            over, fitting = len(ids) > length, int((labels[:length] != IGNORED).sum())
            dropped = over and shape["overlong"] in ("drop", "error")
            trained += int((labels != IGNORED).sum())
            kept += 0 if dropped else fitting
            if not fitting and not dropped:
                nothing.append(at)
                found.overlong += [at] * over
                continue
            piece = Piece({"input_ids": ids[:length], "labels": labels[:length].tolist()})
            found.add(at, [piece] * (2 if over else 1), shape["overlong"])
    found.refuse(rows, shape, field)
    what = "without a token to learn from within data.max_length"
    notices = (f"{field}: {count(len(nothing), 'row')} {what}, dropped: {rows_at(rows, nothing)}",) if nothing else ()
    return replace(found.encoded(rows, {}, notices), trained=(trained, trained - kept))


def encode_chat_prompt(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages` with the beginning of an answer, for generation.

    Returns:
        `input_ids` (list of int32); an overlong conversation keeps its end.
    """
    renderer, length = Renderer(tokenizer), shape["max_length"]
    found = Windows(("input_ids",))
    for start, batch in batches(rows):
        for at, text in enumerate(batch["messages"].to_pylist(), start):
            ids, _ = tokenize(tokenizer, renderer.prompt(from_json(text)))
            found.add(at, [Piece({"input_ids": ids[-length:]})] * (2 if len(ids) > length else 1), "truncate")
    return found.encoded(rows, {})


def tokenized(renderer: Renderer, found: Conversation) -> TokenizedRow:
    """Render and tokenize a row.

    Raises:
        ConfigError: it cannot be rendered.
    """
    whole = renderer.render(found)
    ids, offsets = tokenize(renderer.tokenizer, whole.text)
    return TokenizedRow(
        whole.text, ids, offsets, np.where(mark_tokens(offsets, whole.spans), ids, IGNORED).astype(np.int32)
    )


def tokenize(tokenizer: Any, text: str) -> tuple[list[int], Sequence[Span]]:
    """Return the token ids of a rendered conversation, and the characters of each."""
    core = tokenizer.backend_tokenizer
    core.no_padding()
    core.no_truncation()
    encoded = core.encode(text, add_special_tokens=False)
    return encoded.ids, encoded.offsets


def mark_tokens(offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """Return for each token whether it begins within one of the spans, which are in order."""
    starts = [start for start, _ in spans]
    marked = np.zeros(len(offsets), dtype=bool)
    for at, (first, _) in enumerate(offsets):
        place = bisect_right(starts, first) - 1
        marked[at] = place >= 0 and first < spans[place][1]
    return marked
