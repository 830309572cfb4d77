"""Tokens as for classification, with each row's weight."""

import pyarrow as pa

from tasks.data.tokens.encode import Encoded, encode_text


def encode(rows, tokenizer, shape, field, labelled) -> Encoded:
    """Add `importance` (float32, one a row)."""
    found = encode_text(rows, tokenizer, shape, field, labelled)
    weights = rows["importance"].combine_chunks().cast(pa.float32()).take(found.table["__origin"].combine_chunks())
    return Encoded(found.table.append_column("importance", weights), found.overlong, found.dropped, found.notices)
