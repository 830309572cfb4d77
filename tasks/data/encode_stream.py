"""Texts to token ids for language models: whole, then merged into rows of one length."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.encode import UNBOUNDED, Encoded, Piece, Shape, Windows, batches, encode_windows, lineage
from tasks.data.say import count, rows_at


def encode_stream(rows: pa.Table, tokenizer: Any, shape: Shape, field: str, judged: bool) -> Encoded:
    """Tokenize `text` (and `text_pair`) whole, special tokens as the tokenizer puts them, with the end token behind
    it if `shape["append_eos"]` and it is not there yet.

    Returns:
        `input_ids` (list of int32), one row a text; see `merge_stream`.
    """
    found = Windows(("input_ids",))
    pairs = "text_pair" in rows.column_names
    end = tokenizer.eos_token_id if shape.get("append_eos") else None
    whole = {"max_length": UNBOUNDED, "overlong": "truncate"}
    for start, batch in batches(rows):
        texts: list[Any] = batch["text"].to_pylist()
        if pairs:
            texts = list(zip(texts, batch["text_pair"].to_pylist(), strict=True))
        for at, pieces in enumerate(encode_windows(tokenizer, texts, whole, "longest_first")):
            ids = pieces[0].values["input_ids"]
            if end is not None and ids[-1:] != [end]:
                ids.append(end)
            found.add(start + at, [Piece({"input_ids": ids})], "truncate")
    return found.encoded(rows, {})


def merge_stream(tables: Sequence[pa.Table], shape: Shape, field: str) -> Encoded:
    """All token rows of a split as the rows a language model is trained on.

    `merge: concat` chains all rows and cuts every `max_length` tokens; what is left over is dropped, unless it is all
    there is (run_clm's and txtai's rule). `pack` puts whole rows together in order of falling length, each into the
    open row or a new one (txtai's rule). `none` keeps one row a text. `packing` puts whole rows together where they
    fit best (best-fit decreasing), with `position_ids` that restart: a model that is given no mask then sees no text
    from another (as transformers' padding-free collator has it).

    Rows over `max_length` follow `overlong` (`window`: cut into pieces, nothing lost), except for `concat`.

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    length = shape["max_length"]
    rows = pa.concat_tables(tables)
    ids = rows["input_ids"]
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in ids.chunks]) if ids.num_chunks else np.zeros(0, "i4")
    sizes = np.concatenate([chunk.value_lengths().to_numpy() for chunk in ids.chunks])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if shape.get("merge") == "concat" and not shape.get("packing"):
        return _chained(rows, flat, starts, length)
    cut = np.flatnonzero(sizes > length)
    if len(cut) and shape["overlong"] == "error":
        raise DataError(
            f"{field}: {count(len(cut), 'row')} of {len(sizes)} are longer than data.max_length = {length} tokens, at "
            f"{rows_at(rows, cut)}; raise it, or set data.overlong: window"
        )
    spans = list(_spans(starts, length, shape["overlong"]))
    lost = len(cut) if shape["overlong"] == "drop" else 0
    if shape.get("packing"):
        bins = _best_fit([end - start for _, start, end in spans], length)
        return _assembled(rows, flat, spans, bins, len(cut), lost, positions=True)
    bins = _next_fit([end - start for _, start, end in spans], length) if shape.get("merge") == "pack" else [
        [at] for at in range(len(spans))]  # fmt: skip
    return _assembled(rows, flat, spans, bins, len(cut), lost, positions=False)


def _chained(rows: pa.Table, flat: np.ndarray, starts: np.ndarray, length: int) -> Encoded:
    total = len(flat) if len(flat) < length else len(flat) // length * length
    offsets = np.arange(0, total + 1, length, dtype=np.int32) if total % length == 0 else np.array([0, total], np.int32)
    origins = np.searchsorted(starts, offsets[:-1], side="right") - 1
    table = {"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat[:total])), **_from(rows, origins)}
    return Encoded(pa.table(table))


def _spans(starts: np.ndarray, length: int, overlong: str) -> Iterator[tuple[int, int, int]]:
    """(row, from, to) of every piece of the flat tokens that stays together."""
    for row, (start, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        if end - start <= length:
            yield row, start, end
        elif overlong == "truncate":
            yield row, start, start + length
        elif overlong == "window":
            for at in range(start, end, length):
                yield row, at, min(at + length, end)


def _next_fit(sizes: list[int], length: int) -> list[list[int]]:
    bins: list[list[int]] = []
    room = 0
    for at in np.argsort(-np.asarray(sizes), kind="stable").tolist():
        if not bins or sizes[at] > room:
            bins.append([])
            room = length
        bins[-1].append(at)
        room -= sizes[at]
    return bins


def _best_fit(sizes: list[int], length: int) -> list[list[int]]:
    """Best-fit decreasing; bins by the room they have left, so that each placement costs a look at `length` counts."""
    by_room: list[list[int]] = [[] for _ in range(length + 1)]
    bins: list[list[int]] = []
    for at in np.argsort(-np.asarray(sizes), kind="stable").tolist():
        size = sizes[at]
        room = next((room for room in range(size, length + 1) if by_room[room]), None)
        if room is None:
            bins.append([])
            chosen, room = len(bins) - 1, length
        else:
            chosen = by_room[room].pop()
        bins[chosen].append(at)
        by_room[room - size].append(chosen)
    return bins


def _assembled(
    rows: pa.Table, flat: np.ndarray, spans: list[tuple[int, int, int]], bins: list[list[int]], cut: int, lost: int,
    positions: bool,
) -> Encoded:  # fmt: skip
    sizes = np.asarray([sum(spans[at][2] - spans[at][1] for at in each) for each in bins], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    order = [at for each in bins for at in each]
    ids = np.concatenate([flat[spans[at][1] : spans[at][2]] for at in order]) if order else flat[:0]
    table: dict[str, Any] = {"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))}
    if positions:
        places = [np.arange(spans[at][2] - spans[at][1], dtype=np.int32) for at in order]
        table["position_ids"] = pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(np.concatenate(places) if places else flat[:0])
        )
    origins = np.asarray([spans[each[0]][0] for each in bins], dtype=np.int64)
    return Encoded(pa.table(table | _from(rows, origins)), cut, lost)


def _from(rows: pa.Table, origins: np.ndarray) -> dict[str, Any]:
    """A merged row is said to come from the data row its first token comes from."""
    where = pa.array(np.asarray(origins, dtype=np.int64))
    return {**lineage(rows, where), "__origin": rows["__origin"].combine_chunks().take(where)}
