"""A training row as the model sees it: the rendered text, and which of it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.data.chat.encode import IGNORED, TokenizedRow, tokenized
from tasks.data.chat.rows import from_json
from tasks.data.chat.template import Renderer, Span
from tasks.data.messages import rows_at
from tasks.data.tokens.encode import Shape

TRIED = 100  # rows, of which the first with a trained token is shown


@dataclass(frozen=True)
class RenderedRow:
    """A rendered row.

    Attributes:
        row: its file and line. text: what of it fits in `data.max_length`. spans: where in `text` the trained tokens
            are, first character and the one after the last. tokens, trained: numbers of tokens in `text`.
        removed: number of tokens after `text`.
    """

    row: str
    text: str
    spans: Sequence[Span]
    tokens: int
    trained: int
    removed: int


def rendered_row(rows: pa.Table, tokenizer: Any, shape: Shape) -> RenderedRow:
    """Return the first of `rows` that has a trained token (among the first hundred; else the first).

    Args:
        rows: with the column `messages`. shape: see `encode_conversation`.

    Raises:
        ConfigError: the template cannot be used, or not render the row.
    """
    renderer, length = Renderer(tokenizer, shape.get("train_on")), shape["max_length"]
    found = None
    for at, text in enumerate(rows["messages"].slice(0, TRIED).to_pylist()):
        renderer.check(from_json(text))
        row = tokenized(renderer, from_json(text))
        trained = int((row.labels[:length] != IGNORED).sum())
        if trained or found is None:
            found = _cut(row, length, rows_at(rows, [at]), trained)
        if trained:
            break
    assert found is not None, "there are no splits without rows"
    return found


def _cut(row: TokenizedRow, length: int, place: str, trained: int) -> RenderedRow:
    kept = min(len(row.ids), length)
    text = row.text if kept == len(row.ids) else row.text[: row.offsets[kept - 1][1]]
    spans: list[Span] = []
    for at in range(kept):
        start, end = row.offsets[at]
        if row.labels[at] == IGNORED:
            continue
        if at and row.labels[at - 1] != IGNORED:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return RenderedRow(place, text, spans, kept, trained, len(row.ids) - kept)
