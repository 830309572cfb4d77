"""Rows that nearly repeat others: MinHash over word pairs (Broder 1997), found by banding (Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, chapter 3); all in arrays, so that a hundred thousand short rows take a second.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at run time, where no type checker sees them)

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tables.spill import taken

HASHES, BAND = 32, 4  # eight bands of four: pairs of similarity 0.8 meet in one with probability 0.98
ALIKE = 0.8
MOST = 8 * 2**20  # bytes of train that are looked at, and a quarter of that of the other: memory stays bounded
FEWEST = 4  # words; shorter texts are alike by chance
_ODD = np.random.Generator(np.random.PCG64(7)).integers(1, 2**63, HASHES, dtype=np.uint64) | np.uint64(1)
_ADD = np.random.Generator(np.random.PCG64(8)).integers(0, 2**63, HASHES, dtype=np.uint64)


def near_rows(train: pa.Table, other: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """The rows of `other` that are much like one of `train` (estimated Jaccard similarity of their pairs of words at
    least 0.8, case and punctuation aside), but not the same text. Texts under four words are left out;
    of more than 8 MiB of text some rows, evenly spaced, are looked at.

    Returns:
        Positions in `other`, rising.
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
        for step in range(2):  # a band is shared by few; the first two are looked at
            place = np.minimum(at + step, split - 1)
            candidate = order[place]
            same = keys[candidate] == keys[split:]
            alike = (signatures[candidate] == signatures[split:]).mean(axis=1) >= ALIKE
            found |= same & alike & (exact[long[candidate]] != exact[long[split:]])
    return places[long[split:][found] - rows]


def near_repeats(table: pa.Table, columns: Sequence[str]) -> tuple[np.ndarray, int]:
    """The rows that are much like an earlier one, by the measure of `near_rows`.

    Returns:
        Positions, rising, and how many rows were looked at.
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
        for step in (1, 2):  # of rows that share a band, each is held against the two before it
            later, earlier = order[step:], order[:-step]
            alike = (signatures[later] == signatures[earlier]).mean(axis=1) >= ALIKE
            found[later[(keys[later] == keys[earlier]) & alike & (exact[later] != exact[earlier])]] = True
    return places[long[found]], some.num_rows


def _some(table: pa.Table, most: int) -> tuple[pa.Table, np.ndarray]:
    """Rows of at most so many bytes, evenly spaced, and their positions."""
    step = max(1, -(-table.nbytes // most))
    rows = np.arange(0, table.num_rows, step)
    return (table if step == 1 else taken(table, rows)), rows


def _words(text: pa.ChunkedArray) -> pa.ListArray:
    """Lower-case words, without what is neither letter nor digit."""
    plain = pc.replace_substring_regex(pc.utf8_lower(text), r"[^\pL\pN]+", " ")
    return pc.split_pattern(pc.utf8_trim_whitespace(plain), " ").combine_chunks()


def _signatures(words: pa.ListArray, lengths: np.ndarray, long: np.ndarray) -> np.ndarray:
    """The least of each hash over a row's pairs of neighbouring words; shape (rows, HASHES)."""
    codes = words.flatten().dictionary_encode().indices.to_numpy().astype(np.uint64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    pairs = codes[:-1] * np.uint64(0x9E3779B97F4A7C15) + codes[1:] * np.uint64(0xC2B2AE3D27D4EB4F)
    pairs ^= pairs >> np.uint64(29)
    # a row's last word begins no pair: the stretch of a row ends one before the next row's
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
