"""Packs tokenized conversations into rows of the full length."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tasks.data.tokens.encode import Encoded, Shape
from tasks.data.tokens.encode_stream import best_fit

LISTS = ("input_ids", "labels")


def pack_conversations(tables: Sequence[pa.Table], shape: Shape, field: str) -> Encoded:
    """Return the token rows of a split, with `packing` several in one row, by best-fit decreasing.

    Packed rows have `position_ids` that restart, so that a model without a mask attends only within each conversation
    (as with transformers' padding-free collator). Their lineage is that of their first conversation.
    """
    rows = pa.concat_tables(tables).combine_chunks()
    if not shape.get("packing") or not rows.num_rows:
        return Encoded(rows)
    sizes = rows["input_ids"].combine_chunks().value_lengths().to_numpy()
    bins = best_fit(sizes.tolist(), shape["max_length"])
    order = np.asarray([at for each in bins for at in each])
    offsets = np.concatenate([[0], np.cumsum([sizes[each].sum() for each in bins])]).astype(np.int32)
    placed = rows.take(pa.array(order))
    lists = {name: placed[name].combine_chunks().flatten() for name in LISTS}
    lists["position_ids"] = pa.array(np.concatenate([np.arange(size, dtype=np.int32) for size in sizes[order]]))
    firsts = rows.take(pa.array([each[0] for each in bins]))
    columns = {name: pa.ListArray.from_arrays(pa.array(offsets), values) for name, values in lists.items()}
    return Encoded(pa.table(columns | {name: firsts[name] for name in rows.column_names if name not in LISTS}))
