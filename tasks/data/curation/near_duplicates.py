"""Near-duplicate rows: MinHash over word bigrams (Broder 1997), candidates by LSH banding (Leskovec, Rajaraman,
Ullman, Mining of Massive Datasets, chapter 3); vectorized: 100,000 short rows take about a second.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tables.spill import taken

HASHES, BAND = 32, 4  # eight bands of four: pairs of similarity 0.8 share one with probability 0.98
ALIKE = 0.8
MOST = 8 * 2**20  # bytes of train that are compared, and a quarter of that of the other table: bounds memory
FEWEST = 4  # words; shorter texts are similar by chance
_ODD = np.random.Generator(np.random.PCG64(7)).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
_ADD = np.random.Generator(np.random.PCG64(8)).integers(0, 2**63, HASHES, dtype=np.uint64)


def near_rows(train: pa.Table, other: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Find the rows of `other` that are similar to one of `train` (estimated Jaccard similarity of their word bigrams
    at least 0.8, ignoring case and punctuation), but not the same text. Texts under four words are skipped; for more
    than 8 MiB of text, only evenly spaced rows are compared.

    Returns:
        Positions in `other`, ascending.
    """
    train, _ = _some(train.select(columns), MOST)
    other, places = _some(other.select(columns), MOST // 4)
    rows = train.num_rows
    table = pa.concat_tables([train.select(columns), other.select(columns)], promote_options="permissive")
    text = pc.binary_join_element_wise(*(pc.fill_null(pc.cast(table[name], pa.string()), "") for name in columns), " ")
    words = _words(text)
    lengths = words.value_lengths().to_numpy()
    long = np.flatnonzero(lengths >= FEWEST)
    if not len(long) or long[-1] < rows or long[0] >= rows:
        return np.zeros(0, dtype=np.int64)
    signatures = _signatures(words, lengths, long)
    exact = text.combine_chunks().dictionary_encode().indices.to_numpy()
    split = int(np.searchsorted(long, rows))
    found = np.zeros(len(long) - split, dtype=bool)
    for start in range(0, HASHES, BAND):
        keys = _mixed(signatures[:, start : start + BAND])
        order = np.argsort(keys[:split], kind="stable")
        at = np.searchsorted(keys[:split], keys[split:], sorter=order)
        for step in range(2):  # few rows share a band; the first two are compared
            place = np.minimum(at + step, split - 1)
            candidate = order[place]
            same = keys[candidate] == keys[split:]
            alike = (signatures[candidate] == signatures[split:]).mean(axis=1) >= ALIKE
            found |= same & alike & (exact[long[candidate]] != exact[long[split:]])
    return places[long[split:][found] - rows]


def near_repeats(table: pa.Table, columns: Sequence[str]) -> tuple[np.ndarray, int]:
    """Find the rows that are similar to an earlier one, by the measure of `near_rows`.

    Returns:
        Positions, ascending, and the number of rows compared.
    """
    some, places = _some(table.select(columns), MOST)
    text = pc.binary_join_element_wise(*(pc.fill_null(pc.cast(some[name], pa.string()), "") for name in columns), " ")
    words = _words(text)
    lengths = words.value_lengths().to_numpy()
    long = np.flatnonzero(lengths >= FEWEST)
    if len(long) < 2:
        return np.zeros(0, dtype=np.int64), some.num_rows
    signatures = _signatures(words, lengths, long)
    exact = text.combine_chunks().dictionary_encode().indices.to_numpy()[long]
    found = np.zeros(len(long), dtype=bool)
    for start in range(0, HASHES, BAND):
        keys = _mixed(signatures[:, start : start + BAND])
        order = np.argsort(keys, kind="stable")
        for step in (1, 2):  # each row is compared with the two before it in its band
            later, earlier = order[step:], order[:-step]
            alike = (signatures[later] == signatures[earlier]).mean(axis=1) >= ALIKE
            found[later[(keys[later] == keys[earlier]) & alike & (exact[later] != exact[earlier])]] = True
    return places[long[found]], some.num_rows


def _some(table: pa.Table, most: int) -> tuple[pa.Table, np.ndarray]:
    """Return evenly spaced rows of at most `most` bytes, and their positions."""
    step = max(1, -(-table.nbytes // most))
    rows = np.arange(0, table.num_rows, step)
    return (table if step == 1 else taken(table, rows)), rows


def _words(text: pa.ChunkedArray) -> pa.ListArray:
    """Return lower-case words; everything except letters and digits separates them."""
    plain = pc.replace_substring_regex(pc.utf8_lower(text), r"[^\pL\pN]+", " ")
    return pc.split_pattern(pc.utf8_trim_whitespace(plain), " ").combine_chunks()


def _signatures(words: pa.ListArray, lengths: np.ndarray, long: np.ndarray) -> np.ndarray:
    """Return MinHash signatures: the minimum of each hash over a row's word bigrams; shape (rows, HASHES)."""
    codes = words.flatten().dictionary_encode().indices.to_numpy().astype(np.uint64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    pairs = codes[:-1] * np.uint64(0x9E3779B97F4A7C15) + codes[1:] * np.uint64(0xC2B2AE3D27D4EB4F)
    pairs ^= pairs >> np.uint64(29)
    # no bigram begins at a row's last word
    counts = lengths[long] - 1
    ends = np.cumsum(counts)
    flat = np.repeat(starts[long] - np.concatenate([[0], ends[:-1]]), counts) + np.arange(ends[-1])
    kept, begins = pairs[flat], np.concatenate([[0], ends[:-1]])
    signatures = np.empty((len(long), HASHES), dtype=np.uint64)
    for at in range(HASHES):
        hashed = kept * _ODD[at] + _ADD[at]
        signatures[:, at] = np.minimum.reduceat(hashed ^ (hashed >> np.uint64(32)), begins)
    return signatures


def _mixed(band: np.ndarray) -> np.ndarray:
    key = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    return key
