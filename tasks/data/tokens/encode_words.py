"""Tokenization of words with tags, for token classification."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches, encode_windows

IGNORED = -100


def encode_words(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `tokens` (lists of words) with their `tags` (lists of class ids).

    A word's first token has its tag, the others are ignored (-100) unless `shape["label_all_tokens"]`. A window labels
    only the words that no earlier window has labelled, so that every word counts once. Windows without labels are
    dropped, as are training rows in which no word has tokens: their loss would be NaN.

    Returns:
        `input_ids` and `labels` (lists of int32), `__words` (list of int32: for a word's first token the word's
        position in the row, else -1), `__bare` and `__bare_tags` (lists of int32: the positions of words without
        tokens, and their tags).

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    _separate_words(tokenizer)
    known = "tags" in rows.column_names
    names = ("input_ids", "labels", "__words", "__bare", "__bare_tags")
    found = Windows(names if known else ("input_ids", "__words", "__bare"))
    all_tokens = bool(shape.get("label_all_tokens"))
    empty: list[int] = []
    bare: dict[int, int] = {}
    for start, batch in batches(rows):
        words = batch["tokens"].to_pylist()
        tags = batch["tags"].to_pylist() if known else [[0] * len(each) for each in words]
        encoded = encode_windows(tokenizer, words, shape, "longest_first", pretokenized=True)
        for at, pieces in enumerate(encoded):
            windows_labelled = _labelled(pieces, tags[at], all_tokens)
            with_labels = [piece for piece in windows_labelled if (piece.values["labels"] != IGNORED).any()]
            if not with_labels and not labelled:
                empty.append(start + at)
            else:
                windows = with_labels if with_labels and shape["overlong"] == "window" else windows_labelled
                whole = len(pieces) == 1 or shape["overlong"] == "window"
                windows = _with_bare(windows, windows_labelled, tags[at], whole)
                found.add(start + at, windows, shape["overlong"])
                if missing := sum(len(window.values["__bare"]) for window in windows):
                    bare[start + at] = missing
    found.refuse(rows, shape, field)
    return found.encoded(rows, {}, _notices(rows, empty, bare, field))


def _notices(rows: pa.Table, empty: list[int], bare: Mapping[int, int], field: str) -> tuple[str, ...]:
    notices = []
    if bare:
        notices.append(f"{field}: {count(sum(bare.values()), 'word')} for which the tokenizer has no tokens, in "
                    f"{count(len(bare), 'row')}; they are not trained on, and their prediction is O (null if no "
                    f"class is O): {rows_at(rows, [*bare])}")  # fmt: skip
    if empty:
        notices.append(f"{field}: {count(len(empty), 'row')} whose words all have no tokens, dropped: "
                    f"{rows_at(rows, empty)}")  # fmt: skip
    return tuple(notices)


def _labelled(pieces: list[Any], tags: list[int], all_tokens: bool) -> list[Piece]:
    done, windows_labelled = -1, []
    for piece in pieces:
        ids = piece.encoding.word_ids
        words = np.asarray([-1 if word is None else word for word in ids], dtype=np.int32)
        first = np.concatenate([[True], words[1:] != words[:-1]]) & (words > done)
        labels = np.full(len(words), IGNORED, dtype=np.int32)
        shown = (words > done) if all_tokens else first
        labels[shown] = np.asarray(tags, dtype=np.int32)[words[shown]]
        windows_labelled.append(
            Piece({"input_ids": piece.values["input_ids"], "labels": labels, "__words": np.where(first, words, -1)})
        )
        done = max(done, int(words.max(initial=-1)))
    return windows_labelled


def _with_bare(windows: list[Piece], windows_labelled: list[Piece], tags: list[int], whole: bool) -> list[Piece]:
    """Return the windows with the words without tokens that each covers: those up to its last word, and for the last
    window up to the row's end if the row is complete (`whole`)."""
    words = [piece.values["__words"] for piece in windows_labelled]
    bare = np.setdiff1d(np.arange(len(tags), dtype=np.int32), np.concatenate(words))
    ends = np.maximum.accumulate([int(window.values["__words"].max(initial=-1)) for window in windows])
    ends[-1] = len(tags) if whole else ends[-1]
    at, shown = np.searchsorted(ends, bare), []
    for number, window in enumerate(windows):
        read = bare[at == number]
        tag = np.asarray(tags, dtype=np.int32)[read]
        shown.append(Piece({**window.values, "__bare": read, "__bare_tags": tag}))
    return shown


def _separate_words(tokenizer: Tokenizer) -> None:
    """Make byte-level tokenizers add the space before each word, since lists of words have none."""
    before = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if before is not None and getattr(before, "add_prefix_space", None) is False:
        before.add_prefix_space = True
