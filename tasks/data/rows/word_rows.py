"""Groups rows of one word each (`sentence_id, word, tag`) into rows of one sentence each."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.config import DataConfig
from tasks.config.errors import DataError
from tasks.data.curation.row_keys import row_keys
from tasks.data.messages import FILE, count, rows_at
from tasks.data.rows.columns import SENTENCE, TAG, WORD, choose
from tasks.data.tables.class_names import field_of


def sentences(table: pa.Table, data: DataConfig, field: str) -> tuple[pa.Table, DataConfig, list[str]]:
    """Return one row per sentence with lists of its words (and tags), if a column has each word's sentence; other
    tables unchanged. An empty cell means the sentence of the row above; sentence ids are unique within a file only.
    Sentences are in the order of their first words and keep the other columns of that row.

    Returns:
        The table, the config with the columns' names, and notices for the user.

    Raises:
        DataError: the first words have no sentence, or the sentence column is nested.
    """
    names = [name for name in table.column_names if not name.startswith("__")]
    lower = {name.lower() for name in names}
    wanted = data.columns.model_dump()
    if not (wanted["sentence"] or (lower & set(SENTENCE.names) and lower & set(WORD.names))):
        return table, data, []
    chosen = choose(names, wanted, (SENTENCE, WORD, TAG))
    if not {"sentence", "tokens"} <= chosen.keys() or not pa.types.is_string(table[chosen["tokens"]].type):
        return table, data, []
    ids = table[chosen["sentence"]]
    if pa.types.is_nested(ids.type):
        raise DataError(f"{field}: column {chosen['sentence']!r} (data.columns.sentence) holds {ids.type}, not one "
                        f"value per row: {rows_at(table, range(table.num_rows))}")  # fmt: skip
    ids = pc.cast(ids, pa.string())
    ids = pc.fill_null_forward(pc.if_else(pc.equal(pc.utf8_trim_whitespace(ids), ""), None, ids))
    if orphans := np.flatnonzero(ids.is_null().to_numpy()).tolist():
        raise DataError(f"{field}: {count(len(orphans), 'word')} without a sentence in column {chosen['sentence']!r} "
                        f"(data.columns.sentence): {rows_at(table, orphans)}")  # fmt: skip
    places = [FILE] if FILE in table.column_names else []
    keys = row_keys([table.select(places).append_column("id", ids)], [*places, "id"])[0]
    found, scattered = _gathered(table, [chosen[role] for role in ("tokens", "tags") if role in chosen], keys)
    apart = f", {count(scattered, 'sentence')} of which not in consecutive rows" if scattered else ""
    notice = (
        f"{field}: {count(table.num_rows, 'row')} of one word each are read as {count(found.num_rows, 'sentence')}, "
        f"by column {chosen['sentence']!r}{apart}"
    )
    columns = data.columns.model_copy(update={role: chosen.get(role) for role in ("tokens", "tags")})
    return found, data.model_copy(update={"columns": columns}), [notice]


def _gathered(table: pa.Table, columns: list[str], keys: np.ndarray) -> tuple[pa.Table, int]:
    """Return one row per key with `columns` as lists, and the number of keys with rows that are not consecutive."""
    _, firsts, of = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(firsts))[of]
    order = np.argsort(rank, kind="stable")
    sizes = np.bincount(rank)
    lasts = np.zeros(len(sizes), dtype=np.int64)
    lasts[rank] = np.arange(len(rank))
    rows = table.take(pa.array(np.sort(firsts)))
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    for name in columns:
        values = table[name].combine_chunks().take(pa.array(order))
        lists = pa.ListArray.from_arrays(offsets, values)
        rows = rows.set_column(rows.column_names.index(name), field_of(table.schema.field(name), lists.type), lists)
    return rows, int((lasts - np.sort(firsts) + 1 != sizes).sum())
