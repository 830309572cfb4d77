"""A split's token rows, as later stages read them from stage 5's artifact."""

from typing import Any

from tasks.artifacts.artifact import Artifact


def shard_name(split: str, start: int) -> str:
    """The member that holds the token rows of the data rows from `start` on."""
    return f"{split}-{start:09d}.arrow"


def tokens_of(tokens: Artifact, split: str) -> Any:
    """The `pyarrow.Table` of a split's token rows, memory-mapped, shards put together; None if there are none."""
    from tasks.data.tokens import open_tokens

    names = sorted(name for name in tokens.ref.members if name.startswith(f"{split}-"))
    starts = [int(name.removesuffix(".arrow").rpartition("-")[2]) for name in names]
    return open_tokens([tokens.path(name) for name in names], starts) if names else None
