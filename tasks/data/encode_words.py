"""Words with tags to token ids with labels, for token classification."""

from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.encode import Encoded, Piece, Shape, Windows, batches, encode_windows
from tasks.data.say import count, rows_at

IGNORED = -100


def encode_words(rows: pa.Table, tokenizer: Any, shape: Shape, field: str, judged: bool) -> Encoded:
    """Tokenize `tokens` (lists of words) with their `tags` (lists of class ids).

    A word's first piece carries its tag, the others are ignored (-100) unless `shape["label_all_tokens"]`. A window
    labels only the words that no window before it has labelled, so every word counts once; one that labels none is
    left out, and so is a row of train whose words are nothing to the tokenizer: a loss of no labels is no number.

    Returns:
        `input_ids` and `labels` (lists of int32), `__words` (list of int32: the position in the row of the word whose
        first piece stands there, else -1).

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    _separate_words(tokenizer)
    known = "tags" in rows.column_names
    found = Windows(("input_ids", "labels", "__words") if known else ("input_ids", "__words"))
    everything = bool(shape.get("label_all_tokens"))
    empty: list[int] = []
    for start, batch in batches(rows):
        words = batch["tokens"].to_pylist()
        tags = batch["tags"].to_pylist() if known else [[0] * len(each) for each in words]
        encoded = encode_windows(tokenizer, words, shape, "longest_first", pretokenized=True)
        for at, pieces in enumerate(encoded):
            labelled = _labelled(pieces, tags[at], everything)
            telling = [piece for piece in labelled if (piece.values["labels"] != IGNORED).any()]
            if not telling and not judged:
                empty.append(start + at)
            else:
                windows = telling if telling and shape["overlong"] == "window" else labelled
                found.add(start + at, windows, shape["overlong"])
    found.refuse(rows, shape, field)
    told = f"{field}: {count(len(empty), 'row')} of whose words the tokenizer makes nothing, left out: "
    return found.encoded(rows, {}, (told + rows_at(rows, empty),) if empty else ())


def _labelled(pieces: list[Any], tags: list[int], everything: bool) -> list[Piece]:
    done, labelled = -1, []
    for piece in pieces:
        ids = piece.encoding.word_ids
        words = np.asarray([-1 if word is None else word for word in ids], dtype=np.int32)
        first = np.concatenate([[True], words[1:] != words[:-1]]) & (words > done)
        labels = np.full(len(words), IGNORED, dtype=np.int32)
        shown = (words > done) if everything else first
        labels[shown] = np.asarray(tags, dtype=np.int32)[words[shown]]
        labelled.append(
            Piece({"input_ids": piece.values["input_ids"], "labels": labels, "__words": np.where(first, words, -1)})
        )
        done = max(done, int(words.max(initial=-1)))
    return labelled


def _separate_words(tokenizer: Any) -> None:
    """Byte-level tokenizers know a word by the space before it; given words, they must put it there themselves."""
    before = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if before is not None and getattr(before, "add_prefix_space", None) is False:
        before.add_prefix_space = True
