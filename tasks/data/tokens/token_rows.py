"""A split's token rows, as stage 5 names their shards and later stages read them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def shard_name(split: str, start: int) -> str:
    """The member that holds the token rows of the data rows from `start` on."""
    return f"{split}-{start:09d}.arrow"


def tokens_of(shards: Mapping[str, Path]) -> Any:
    """The `pyarrow.Table` of the token rows in a split's shards (`{name: file}`), memory-mapped and put together; None
    if there are no shards.
    """
    from tasks.data.tokens.token_table import open_tokens

    names = sorted(shards)
    starts = [int(name.removesuffix(".arrow").rpartition("-")[2]) for name in names]
    return open_tokens([shards[name] for name in names], starts) if names else None


def scored_rows(table: Any, most: int | None, say: Callable[[str], None] = lambda line: None) -> Any:
    """The token rows of at most `most` data rows, in their order: always the same ones, each with all its windows.
    None of None."""
    import numpy as np
    import pyarrow as pa

    from tasks.data.tokens.token_table import ORIGIN

    if table is None:
        return None
    origins = table[ORIGIN].to_numpy()
    rows = np.unique(origins)
    if most is None or len(rows) <= most:
        return table
    drawn = np.random.Generator(np.random.PCG64(0)).choice(rows, most, replace=False)
    say(f"{most:,} of {len(rows):,} rows are scored (eval.max_samples)")
    return table.take(pa.array(np.flatnonzero(np.isin(origins, drawn))))
