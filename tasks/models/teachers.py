"""Load a model that was trained before, to answer for another one or beside it: with its own head, in the order of the
data's classes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tasks.config.errors import ConfigError
from tasks.models.assemble import untrained_model
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


def load_trained(
    base: Path, files: Mapping[str, Path], auto_model: str, head: Mapping[str, Any], pad_token_id: int | None, task: str
) -> Any:
    """Return a trained model in float32 and in eval mode, with its adapter merged if it has one.

    Args:
        base: a view of its artifact of stage 3, with the weights. files: the same files by name. auto_model: see
            `Loading`. head: the classes, whose order it gets. task: for messages.

    Raises:
        ConfigError: it was not trained for these classes, or not for the task.
    """
    loading: dict[str, Any] = {"auto_model": auto_model, "dtype": "float32"}
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        folder = Path(scratch)
        try:
            write_trained(base, folder, Loading(**loading), head, pad_token_id)
        except ConfigError as error:
            why = str(error).removeprefix("model.name: ")
            raise ConfigError(f"{why}; take a model that was trained for {task}") from error
        return untrained_model(folder, files, loading)
