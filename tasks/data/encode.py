"""Texts to token ids: Arrow in, Arrow out, through the tokenizer's own Rust core, a batch at a time."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.say import count, rows_at

BATCH = 4096


def encode_text(
    rows: pa.Table, tokenizer: Any, max_length: int, overlong: Literal["truncate", "error"], field: str
) -> tuple[pa.Table, int]:
    """Tokenize `text` (and `text_pair`).

    Args:
        rows: with columns `text`, maybe `text_pair`, `label`, and the lineage columns.
        tokenizer: a transformers tokenizer.
        max_length: in tokens, special tokens counted in; pairs are cut longest first.
        overlong: what becomes of longer rows.
        field: how messages call these rows.

    Returns:
        A table of `input_ids` (list of int32), for pairs of models that tell segments apart `token_type_ids`
        (list of int8), `labels` (int64) and the lineage columns; and how many rows were cut. Masks are not stored:
        they follow from the lengths.

    Raises:
        DataError: `overlong` is `error` and there are overlong rows; names them.
    """
    pairs = "text_pair" in rows.column_names
    segments = pairs and "token_type_ids" in tokenizer.model_input_names
    ids, types, cut = [], [], []
    for start in range(0, rows.num_rows, BATCH):
        batch = rows.slice(start, BATCH)
        texts = batch["text"].to_pylist()
        second = batch["text_pair"].to_pylist() if pairs else None
        encoded, segment, overflowing = _encode(tokenizer, texts, second, max_length)
        ids.append(_lists(encoded, np.int32))
        if segments:
            types.append(_lists(segment, np.int8))
        cut += [start + i for i in overflowing]
    if cut and overlong == "error":
        raise DataError(
            f"{field}: {count(len(cut), 'row')} of {rows.num_rows} are longer than data.max_length = {max_length} "
            f"tokens, at {rows_at(rows, cut)}; raise it, or set data.overlong: truncate"
        )
    columns: dict[str, Any] = {"input_ids": pa.chunked_array(ids)}
    if segments:
        columns["token_type_ids"] = pa.chunked_array(types)
    columns["labels"] = rows["label"]
    columns |= {name: rows[name] for name in ("__file", "__row")}
    return pa.table(columns), len(cut)


def _encode(
    tokenizer: Any, texts: list[str], second: list[str] | None, max_length: int
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    if not tokenizer.is_fast:
        encoded = tokenizer(texts, second, truncation=True, max_length=max_length, return_token_type_ids=True)
        cut = [i for i, row in enumerate(encoded["input_ids"]) if len(row) >= max_length]
        return encoded["input_ids"], encoded["token_type_ids"], cut
    core = tokenizer.backend_tokenizer  # the same Rust call the library makes, without its Python lists of masks
    core.no_padding()
    core.enable_truncation(max_length, strategy="longest_first", direction=tokenizer.truncation_side)
    encoded = core.encode_batch_fast(texts if second is None else list(zip(texts, second, strict=True)))
    return (
        [row.ids for row in encoded],
        [row.type_ids for row in encoded] if second is not None else [],
        [i for i, row in enumerate(encoded) if row.overflowing],
    )


def _lists(values: list[list[int]], kind: Any) -> pa.ListArray:
    lengths = np.fromiter((len(row) for row in values), dtype=np.int32, count=len(values))
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    flat = np.fromiter((token for row in values for token in row), dtype=kind, count=int(offsets[-1]))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
