"""Tokenization of preferences: two conversations in a row, with the tokens of their answers marked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import ConfigError, DataError
from tasks.data.chat.encode import mark_tokens, tokenize
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import from_json
from tasks.data.chat.template import Template
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows

SIDES = ("chosen", "rejected")
COLUMNS = tuple(f"{side}_{name}" for side in SIDES for name in ("input_ids", "completion_mask"))


def encode_preference(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `chosen` and `rejected` as the tokenizer's chat template renders them.

    Args:
        shape: `max_length`, of each of the two conversations, and `overlong`.

    Returns:
        For each side `…_input_ids` (list of int32) and `…_completion_mask` (list of int8): 1 for the tokens of answers
        after the common prompt. `margin` (float32), if the rows have it.

    Raises:
        DataError: the template cannot render a row; `overlong` is `error` and there are overlong rows.
    """
    pairs = zip(*(map(from_json, rows[side].to_pylist()) for side in SIDES), strict=True)
    more = {"margin": lambda origins: rows["margin"].combine_chunks().take(origins)}
    return _encoded(rows, pairs, tokenizer, shape, field, more if "margin" in rows.column_names else {}, SIDES)


def encode_rated(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `messages`, and the same prompt with the answer of the next row that has another prompt, from which KTO
    estimates how far the model has moved.

    Returns:
        As `encode_preference`, the row itself as `chosen` and the mismatched one as `rejected`; `desirable` (int8).
    """
    found = [from_json(text) for text in rows["messages"].to_pylist()]
    others = _others(rows["prompt"].to_pylist())
    pairs = ((one, _with_answer_of(one, found[other])) for one, other in zip(found, others, strict=True))
    more = {"desirable": lambda origins: rows["label"].combine_chunks().take(origins)}
    return _encoded(rows, pairs, tokenizer, shape, field, more, SIDES[:1])


def encode_answered(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize whole conversations, `messages`, for a reward model's score.

    Returns:
        `input_ids` (list of int32), cut at `max_length`.
    """
    template, found = Template(tokenizer), Windows(("input_ids",))
    for at, text in enumerate(rows["messages"].to_pylist()):
        given = from_json(text)
        ids, _ = tokenize(tokenizer, template.text(given.messages, given.tools))
        found.add(
            at, [Piece({"input_ids": ids[: shape["max_length"]]})] * (1 + (len(ids) > shape["max_length"])), "truncate"
        )
    return found.encoded(rows, {})


def _encoded(
    rows: pa.Table, pairs: Iterator[tuple[Conversation, Conversation]], tokenizer: Tokenizer, shape: Shape, field: str,
    more: Mapping[str, Any], own: Sequence[str],
) -> Encoded:  # fmt: skip
    """Tokenize pairs of conversations, of which the sides `own` are the row's; a mismatched answer may be cut."""
    template, length, found = Template(tokenizer), shape["max_length"], Windows(COLUMNS)
    nothing: list[int] = []
    for at, pair in enumerate(pairs):
        values: dict[str, Sequence[int]] = {}
        over = False
        for side, conversation in zip(SIDES, pair, strict=True):
            try:
                whole = template.render(conversation, "completion")
            except ConfigError as error:
                raise DataError(f"{field}: {error}: {rows_at(rows, [at])}") from error
            ids, offsets = tokenize(tokenizer, whole.text)
            over |= len(ids) > length and side in own
            values[f"{side}_input_ids"] = ids[:length]
            values[f"{side}_completion_mask"] = mark_tokens(offsets[:length], whole.spans).astype(np.int8).tolist()
        kept = all(any(values[f"{side}_completion_mask"]) for side in SIDES)
        kept &= len({tuple(values[f"{side}_input_ids"]) for side in own}) == len(own)
        if not kept and not (over and shape["overlong"] in ("drop", "error")):
            nothing.append(at)
            continue
        found.add(at, [Piece(values)] * (2 if over else 1), shape["overlong"])
    found.refuse(rows, shape, field)
    what = "with an answer without a token, or with equal answers, within data.max_length"
    notices = (f"{field}: {count(len(nothing), 'row')} {what}, dropped: {rows_at(rows, nothing)}",) if nothing else ()
    return found.encoded(rows, more, notices)


def _others(prompts: Sequence[str]) -> list[int]:
    """Return for each row the next one with another prompt, from the first again after the last; the row itself if
    there is none."""
    twice = [*prompts, *prompts]
    following = len(twice) - 1  # the first place after `at` with another prompt
    found = [0] * len(twice)
    for at in range(len(twice) - 2, -1, -1):
        following = at + 1 if twice[at + 1] != twice[at] else following
        found[at] = following
    size = len(prompts)
    return [found[at] % size if twice[found[at]] != twice[at] else at for at in range(size)]


def _with_answer_of(one: Conversation, other: Conversation) -> Conversation:
    return replace(one, messages=[*one.messages[: one.given], *other.messages[other.given :]])
