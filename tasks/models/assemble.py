"""Artifacts to a live model: the one way in which training, evaluation and users get theirs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.models.adapters import ADAPTER_CONFIG, reattach
from tasks.models.load import NEW, Loading, link_base, load


def starting_model(folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], adapter: Path | None) -> Any:
    """Return the model as it is before training.

    Args:
        folder: a view of a model artifact. base: the base's files. adapter: a view of an adapter artifact.
    """
    new = folder / NEW
    link_base(folder, base, new if new.exists() else None)
    model = load(folder, Loading(**loading))
    return reattach(model, adapter, trainable=True) if adapter is not None else model


def trained_model(
    weights: Path, folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], merge: bool = False
) -> Any:
    """Return the model after training, in eval mode.

    Args:
        weights: a view of the trained artifact: a whole model, or an adapter (then `folder` and `base` give the rest).
        merge: fold the adapter into the model.
    """
    if not (weights / ADAPTER_CONFIG).exists():
        return load(weights, Loading(**{**loading, "quantization": None})).eval()
    link_base(folder, base, folder / NEW)
    model = reattach(load(folder, Loading(**loading)), weights, trainable=False)
    return (model.merge_and_unload() if merge else model).eval()
