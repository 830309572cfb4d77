"""Tokenization for language models: texts are encoded whole, then merged into rows of up to `max_length` tokens."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import (
    UNBOUNDED,
    Encoded,
    Piece,
    Shape,
    Tokenizer,
    Windows,
    batches,
    encode_windows,
    lineage,
)


def encode_stream(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `text` (and `text_pair`) without truncation, with the tokenizer's special tokens, and with the end token
    appended if `shape["append_eos"]` and it is not there yet.

    Returns:
        `input_ids` (list of int32), one row per text, and `__around` (list of two): for a row over `max_length`, the
        number of special tokens before and after its text. See `merge_stream`.
    """
    found = Windows(("input_ids", "__around"))
    pairs = "text_pair" in rows.column_names
    end = tokenizer.eos_token_id if shape.get("append_eos") else None
    whole = {"max_length": UNBOUNDED, "overlong": "truncate"}
    for start, batch in batches(rows):
        texts: list[Any] = batch["text"].to_pylist()
        if pairs:
            texts = list(zip(texts, batch["text_pair"].to_pylist(), strict=True))
        for at, pieces in enumerate(encode_windows(tokenizer, texts, whole, "longest_first")):
            ids = pieces[0].values["input_ids"]
            long = len(ids) >= shape["max_length"]
            special = _special(tokenizer, pieces[0], ids) if long else []
            if end is not None and ids[-1:] != [end]:
                ids.append(end)
                special = [*special, 1] if long else []
            around = [_run(special), _run(special[::-1])]
            found.add(start + at, [Piece({"input_ids": ids, "__around": around})], "truncate")
    return found.encoded(rows, {})


def _special(tokenizer: Any, piece: Any, ids: list[int]) -> Sequence[int]:
    """Return 1 for special tokens around a text, 0 for the text's tokens."""
    if tokenizer.is_fast:
        return piece.encoding.special_tokens_mask
    known = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    return [int(token in known) for token in ids]


def _run(special: Sequence[int]) -> int:
    return next((at for at, flag in enumerate(special) if not flag), 0)


def merge_stream(tables: Sequence[pa.Table], shape: Shape, field: str) -> Encoded:
    """Merge all token rows of a split into the rows on which a causal language model is trained.

    `merge: concat` concatenates all rows and splits every `max_length` tokens; the remainder is dropped, unless it is
    all there is (as in run_clm and txtai). `pack` combines whole rows in order of decreasing length, each added to the
    current row or a new one (as in txtai). `none` keeps one row per text. `packing` combines whole rows by best-fit
    decreasing, with `position_ids` that restart, so that a model without a mask attends only within each text (as with
    transformers' padding-free collator).

    Rows over `max_length` follow `overlong` (`window`: split into pieces without loss), except for `concat`. Every
    piece begins with the tokens that the tokenizer puts before a text (BOS), and only the last ends with those after
    it (EOS): prompts begin with BOS too, and some models (Gemma, Llama 3) predict badly without it, while a text that
    continues must not look finished. Rows of a single token are dropped: they have no next token, so their loss would
    be NaN.

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    merged = _merge(tables, shape, field, False)
    if "position_ids" in merged.table.column_names:
        places = merged.table["position_ids"].combine_chunks()
        flags = places.flatten().to_numpy() > 0
    else:
        flat = merged.table["input_ids"].combine_chunks()
        flags = np.ones(len(flat.flatten()), dtype=bool)
        flags[np.asarray(flat.offsets)[:-1] - flat.offsets[0].as_py()] = False
    return _learnable(merged, flags, field, "with a single token, so without a next token to predict")


def merge_masked(tables: Sequence[pa.Table], shape: Shape, field: str) -> Encoded:
    """Merge all token rows of a split into the rows on which a masked language model is trained: like `merge_stream`,
    but every piece of a row over `max_length` has the special tokens of the whole row around it. Rows without a token
    that can be masked are dropped.

    Args:
        shape: `special_ids` are the tokens that are never masked.
    """
    merged = _merge(tables, shape, field, True)
    flat = merged.table["input_ids"].combine_chunks().flatten().to_numpy()
    free = ~np.isin(flat, np.asarray(shape.get("special_ids") or [-1]))
    return _learnable(merged, free, field, "without a token that can be masked")


def _learnable(merged: Encoded, flags: np.ndarray, field: str, what: str) -> Encoded:
    """Drop rows without a flagged token; add a notice about data rows that are lost completely."""
    sizes = merged.table["input_ids"].combine_chunks().value_lengths().to_numpy()
    learnt = np.bincount(np.repeat(np.arange(len(sizes)), sizes)[flags], minlength=len(sizes)) > 0
    if learnt.all():
        return merged
    kept = merged.table.take(pa.array(np.flatnonzero(learnt)))
    origins = merged.table["__origin"].to_numpy()
    gone = np.flatnonzero(~np.isin(origins, origins[learnt]))
    gone = gone[np.unique(origins[gone], return_index=True)[1]]
    notices = f"{field}: {count(len(gone), 'row')} {what}, dropped: {rows_at(merged.table, gone)}"
    return Encoded(kept, merged.overlong, merged.dropped + len(gone), (notices,) if len(gone) else ())


def _merge(tables: Sequence[pa.Table], shape: Shape, field: str, both_ends: bool) -> Encoded:
    length = shape["max_length"]
    rows = pa.concat_tables(tables)
    ids = rows["input_ids"]
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in ids.chunks]) if ids.num_chunks else np.zeros(0, "i4")
    sizes = np.concatenate([chunk.value_lengths().to_numpy() for chunk in ids.chunks])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if shape.get("merge") == "concat" and not shape.get("packing"):
        return _chained(rows, flat, starts, length)
    overlong = np.flatnonzero(sizes > length)
    if len(overlong) and shape["overlong"] == "error":
        raise DataError(
            f"{field}: {count(len(overlong), 'row')} of {len(sizes)} are longer than data.max_length = {length} "
            f"tokens, at {rows_at(rows, overlong)}; raise it, or set data.overlong: window"
        )
    around = rows["__around"].combine_chunks().flatten().to_numpy().reshape(-1, 2)
    spans = list(_spans(flat, starts, length, shape["overlong"], around, both_ends))
    dropped = len(overlong) if shape["overlong"] == "drop" else 0
    whole = [len(tokens) for _, tokens in spans]
    if shape.get("packing"):
        return _assembled(rows, spans, best_fit(whole, length), len(overlong), dropped, positions=True)
    bins = _next_fit(whole, length) if shape.get("merge") == "pack" else [[at] for at in range(len(spans))]
    return _assembled(rows, spans, bins, len(overlong), dropped, positions=False)


def _chained(rows: pa.Table, flat: np.ndarray, starts: np.ndarray, length: int) -> Encoded:
    total = len(flat) if len(flat) < length else len(flat) // length * length
    offsets = np.arange(0, total + 1, length, dtype=np.int32) if total % length == 0 else np.array([0, total], np.int32)
    origins = np.searchsorted(starts, offsets[:-1], side="right") - 1
    table = {"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat[:total])), **_from(rows, origins)}
    return Encoded(pa.table(table))


def _spans(
    flat: np.ndarray, starts: np.ndarray, length: int, overlong: str, around: np.ndarray, both_ends: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, tokens) of every piece that stays together; pieces of a split row get its special tokens, the first
    and last ones as counted by `around` (only the first ones unless `both_ends`)."""
    for row, (start, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        if end - start <= length:
            yield row, flat[start:end]
            continue
        before, closing = around[row]
        behind = closing if both_ends else 0
        head, body, tail = flat[start : start + before], flat[start + before : end - behind], flat[end - behind : end]
        room = length - before - behind
        last = {"truncate": room, "window": len(body)}.get(overlong, 0)
        for at in range(0, last, room):
            piece = body[at : at + room]
            if (
                at and not both_ends and len(piece) <= closing
            ):  # BOS and EOS alone would teach the model to end immediately
                continue
            yield row, np.concatenate([head, piece, tail]) if before or behind else piece


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


def best_fit(sizes: list[int], length: int) -> list[list[int]]:
    """Best-fit decreasing bin packing, with bins indexed by free space, so that each placement takes O(length)."""
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
    rows: pa.Table,
    spans: list[tuple[int, np.ndarray]],
    bins: list[list[int]],
    overlong: int,
    dropped: int,
    positions: bool,
) -> Encoded:
    sizes = np.asarray([sum(len(spans[at][1]) for at in each) for each in bins], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    order = [at for each in bins for at in each]
    ids = np.concatenate([spans[at][1] for at in order]) if order else np.zeros(0, np.int32)
    table: dict[str, Any] = {"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))}
    if positions:
        places = [np.arange(len(spans[at][1]), dtype=np.int32) for at in order]
        table["position_ids"] = pa.ListArray.from_arrays(
            pa.array(offsets), pa.array(np.concatenate(places) if places else ids)
        )
    origins = np.asarray([spans[each[0]][0] for each in bins], dtype=np.int64)
    return Encoded(pa.table(table | _from(rows, origins)), overlong, dropped)


def _from(rows: pa.Table, origins: np.ndarray) -> dict[str, Any]:
    """Return lineage columns: a merged row has the origin of its first token."""
    where = pa.array(np.asarray(origins, dtype=np.int64))
    return {**lineage(rows, where), "__origin": rows["__origin"].combine_chunks().take(where)}
