"""Which rows of a task are kept for later trainings, and which of these a step draws: pure functions of a seed."""

import numpy as np


def kept_origins(
    origins: np.ndarray, classes: np.ndarray | None, rows: int | None, share: float, seed: int
) -> np.ndarray:
    """Return the data rows that are kept, ascending: at least one; with classes, in the proportions of these.

    Args:
        origins: the data row of each token row. classes: of each token row; None: they do not matter.
        rows: how many are kept, if there are as many; None: `share` of them.
    """
    each, first = np.unique(origins, return_index=True)
    count = min(len(each), max(1, round(share * len(each)) if rows is None else rows))
    draw = np.random.Generator(np.random.PCG64(seed))
    if classes is None:
        return np.sort(draw.choice(each, count, replace=False))
    own = classes[first]
    known, sizes = np.unique(own, return_counts=True)
    wanted = count * sizes / len(each)
    kept = np.floor(wanted).astype(np.int64)
    kept[np.argsort(kept - wanted, kind="stable")[: count - kept.sum()]] += 1  # the largest remainders
    chosen = [draw.choice(each[own == name], some, replace=False) for name, some in zip(known, kept, strict=True)]
    return np.sort(np.concatenate(chosen))


def drawn_rows(rows: int, start: int, count: int, seed: int) -> list[int]:
    """Return the positions of `count` rows, from the draw number `start` on, of an endless sequence in which each row
    is drawn once before any is drawn again."""
    found: list[int] = []
    while len(found) < count:
        turn, at = divmod(start + len(found), rows)
        order = np.random.Generator(np.random.PCG64([seed, turn])).permutation(rows)
        found += order[at : at + count - len(found)].tolist()
    return found
