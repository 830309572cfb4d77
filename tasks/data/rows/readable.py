"""Predictions for users: probabilities by class name, entities with their positions in the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.rows.tagging import SCHEME

STARTS = "__starts"
"""The column of `rows` with the start of each word in its text, if words were split from a text."""

ENTITIES = pa.list_(
    pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string()), ("text", pa.string())])
)


def readable(predictions: pa.Table, rows: pa.Table, head: Mapping[str, Any]) -> pa.Table:
    """Return the predictions with columns for users.

    `probabilities` become `score`, of the prediction (multi-label: a list, one per predicted label), and a column
    `probability_<class>` per class. Tags get `words`, one per tag, and, if they follow a scheme (B-, I-, …),
    `entities`: `start` and `end` in characters of the text (words given as lists are joined by spaces), `label`,
    `text`.

    Args:
        predictions: with `__origin`, the positions in `rows`. rows: the rows that were encoded.
    """
    if "probabilities" in predictions.column_names and head.get("labels"):
        predictions = _with_scores(predictions, list(head["labels"]))
    if "__places" in predictions.column_names:
        predictions = _with_entities(predictions, rows, head["labels"])
    return predictions


def _with_scores(predictions: pa.Table, labels: Sequence[str]) -> pa.Table:
    flat = predictions["probabilities"].combine_chunks()
    grid = flat.flatten().to_numpy().reshape(len(flat), -1)
    place = {label: at for at, label in enumerate(labels)}
    predicted = predictions["prediction"].to_pylist()
    if pa.types.is_string(predictions["prediction"].type):
        scores = pa.array(grid[np.arange(len(grid)), [place[label] for label in predicted]])
    else:
        kept = [[float(row[place[label]]) for label in each] for row, each in zip(grid, predicted, strict=True)]
        scores = pa.array(kept, pa.list_(pa.float32()))
    predictions = predictions.drop_columns(["probabilities"]).append_column("score", scores)
    for label, column in zip(labels, grid.T, strict=True):
        predictions = predictions.append_column(f"probability_{label}", pa.array(column))
    return predictions


def _with_entities(predictions: pa.Table, rows: pa.Table, labels: Sequence[str]) -> pa.Table:
    schemed = all(SCHEME.match(label) for label in labels)
    chosen = rows.take(predictions["__origin"].combine_chunks())
    words: list[list[str]] = []
    found: list[list[dict[str, Any]]] = []
    starts = chosen[STARTS].to_pylist() if STARTS in chosen.column_names else [None] * chosen.num_rows
    columns = (predictions["prediction"], predictions["__places"], chosen["tokens"])
    for predicted, places, all_words, begins in zip(*(column.to_pylist() for column in columns), starts, strict=True):
        text, begins = _text(all_words, begins)
        words.append([all_words[place] for place in places])
        spans = [(begins[place], begins[place] + len(all_words[place])) for place in places]
        found.append([{"start": low, "end": high, "label": kind, "text": text[low:high]}
                      for low, high, kind in _entities(predicted, spans)])  # fmt: skip
    predictions = predictions.append_column("words", pa.array(words, pa.list_(pa.string())))
    return predictions.append_column("entities", pa.array(found, ENTITIES)) if schemed else predictions


def _text(words: Sequence[str], begins: Sequence[int] | None) -> tuple[str, Sequence[int]]:
    """Return a text with each word at its start, padded with spaces, and the starts."""
    if begins is None:
        begins = [sum(len(word) + 1 for word in words[:at]) for at in range(len(words))]
    text = ""
    for word, start in zip(words, begins, strict=True):
        text = text.ljust(start) + word
    return text, begins


def _entities(tags: Sequence[str | None], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, kind): B-, S- and U- begin an entity; other tags continue one of their kind or begin one."""
    current: tuple[int, int, str] | None = None
    for tag, (low, high) in zip((each or "O" for each in tags), spans, strict=True):
        kind = tag[2:]
        if current is not None and tag[0] not in "OBSU" and current[2] == kind:
            current = (current[0], high, kind)
            continue
        if current is not None:
            yield current
        current = None if tag == "O" else (low, high, kind)
    if current is not None:
        yield current
