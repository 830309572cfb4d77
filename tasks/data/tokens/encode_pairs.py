"""Tokenization of sources and targets, for sequence to sequence."""

from typing import Any

import pyarrow as pa

from tasks.config.errors import DataError
from tasks.data.messages import count, rows_at
from tasks.data.tokens.encode import Encoded, Piece, Shape, Tokenizer, Windows, batches, encode_windows


def encode_pairs(rows: pa.Table, tokenizer: Tokenizer, shape: Shape, field: str, labelled: bool) -> Encoded:
    """Tokenize `source` (after `shape["prefix"]`) and `target`, the latter in the tokenizer's target mode: Marian,
    mBART and NLLB use another vocabulary or language token for targets.

    Returns:
        `input_ids` and `labels` (lists of int32); for rows to evaluate also `__target`, the text.

    Raises:
        DataError: `overlong` is `error` and there are overlong rows.
    """
    known = "target" in rows.column_names
    found = Windows(("input_ids", "labels") if known else ("input_ids",))
    prefix = shape.get("prefix") or ""
    source = {**shape, "overlong": "truncate"} if shape["overlong"] == "window" else shape
    target = {**source, "max_length": shape.get("max_target_length") or shape["max_length"]}
    long: list[int] = []  # rows with overlong targets
    for start, batch in batches(rows):
        sources = encode_windows(tokenizer, [prefix + text for text in batch["source"].to_pylist()], source,
                                 "longest_first")  # fmt: skip
        inputs = list(sources)
        outputs = _targets(tokenizer, batch["target"].to_pylist(), target) if known else inputs
        for at, (given, wanted) in enumerate(zip(inputs, outputs, strict=True)):
            pair = Piece({"input_ids": given[0].values["input_ids"], "labels": wanted[0].values["input_ids"]})
            if known and len(wanted) > 1:
                long.append(start + at)
            left_out = source["overlong"] == "drop" and long[-1:] == [start + at]
            found.add(start + at, [pair] * (2 if len(given) > 1 or left_out else 1), source["overlong"])
    most = f"{target['max_length']} tokens (data.max_target_length)"
    if long and source["overlong"] == "error":
        raise DataError(f"{field}: {count(len(long), 'row')} of {rows.num_rows} have targets over {most}, at "
                        f"{rows_at(rows, long)}; raise it, or set data.overlong: truncate")  # fmt: skip
    found.refuse(rows, shape, field)
    becomes = "dropped, being over" if source["overlong"] == "drop" else "truncated to"
    notices = (f"{field}: {count(len(long), 'target')} of {rows.num_rows} {becomes} {most}",) if long else ()
    more: dict[str, Any] = {}
    if labelled and known:
        more["__target"] = lambda origins: rows["target"].combine_chunks().take(origins)
    return found.encoded(rows, more, notices)


def _targets(tokenizer: Any, texts: list[str], shape: Shape) -> list[list[Any]]:
    switch = getattr(tokenizer, "_switch_to_target_mode", None)  # as the library's own `text_target=` does
    if switch:
        switch()
    try:
        return list(encode_windows(tokenizer, texts, shape, "longest_first"))
    finally:
        if switch:
            tokenizer._switch_to_input_mode()
