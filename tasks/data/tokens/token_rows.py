"""Names of a split's token shards, written by stage 5, and reading them as one table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def shard_name(split: str, start: int) -> str:
    """Return the name of the shard for the data rows from `start` on."""
    return f"{split}-{start:09d}.arrow"


def tokens_of(shards: Mapping[str, Path]) -> "pa.Table | None":
    """Return the token rows of a split's shards (`{name: file}`) as one memory-mapped `pyarrow.Table`; None without
    shards.
    """
    from tasks.data.tokens.token_table import open_tokens

    names = sorted(shards)
    starts = [int(name.removesuffix(".arrow").rpartition("-")[2]) for name in names]
    return open_tokens([shards[name] for name in names], starts) if names else None


def scored_rows(
    table: "pa.Table | None", most: int | None, info: Callable[[str], None] = lambda line: None
) -> "pa.Table | None":
    """Return the token rows of at most `most` data rows, in order, each with all its windows; the choice is
    deterministic. None for None."""
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
    info(f"{most:,} of {len(rows):,} rows are scored (eval.max_samples)")
    return table.take(pa.array(np.flatnonzero(np.isin(origins, drawn))))
