"""Prepare a trained model to answer for another one: with its own head, in the order of the data's classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tasks.config.errors import ConfigError
from tasks.models.create import create
from tasks.models.load import NEW, Loading


def write_trained(base: Path, out: Path, loading: Loading, head: Mapping[str, Any], pad_token_id: int | None) -> None:
    """Write what `create` does, of a base that lacks nothing.

    Args:
        base, out, loading, head, pad_token_id: see `create`.

    Raises:
        ConfigError: parameters would be initialized at random, as the base lacks them or has other classes.
    """
    made = create(base, out, loading, head, 0, pad_token_id)
    fitted = made.head
    if fitted is not None and fitted.how not in ("kept", "reordered"):
        raise ConfigError(f"it has no trained head for these classes{f' ({fitted.message})' if fitted.message else ''}")
    with safe_open(out / NEW, framework="pt") as opened:
        lacks = sorted({*opened.keys()} - (fitted.changed if fitted is not None else set()))
    if lacks:
        raise ConfigError(f"it has no trained {loading.auto_model.removeprefix('AutoModelFor')} head "
                          f"({', '.join(lacks[:2])} would be random)")  # fmt: skip
