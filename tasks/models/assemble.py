"""Artifacts to a live model: the one way in which training, evaluation and users get theirs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.errors import MachineError
from tasks.models.adapters import reattach
from tasks.models.bases.files import ADAPTER_CONFIG
from tasks.models.load import Loading, link_base, load


def starting_model(folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], adapter: Path | None) -> Any:
    """Return the model as it is before training.

    Args:
        folder: a view of a model artifact. base: the base's files. adapter: a view of an adapter artifact.
    """
    link_base(folder, base)
    model = _whole(folder, loading)
    return reattach(model, adapter, trainable=True) if adapter is not None else model


def _whole(folder: Path, loading: Mapping[str, Any]) -> Any:
    """Load a model every weight of which must be there: the library would draw what is missing, and say nothing."""
    model, info = load(folder, Loading(**loading), output_loading_info=True)  # type: ignore[misc]
    if info["missing_keys"]:
        raise MachineError(f"the model's folder lacks {sorted(info['missing_keys'])[:3]}; its base has changed")
    return model


def trained_model(
    weights: Path, folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], merge: bool = False
) -> Any:
    """Return the model after training, in eval mode.

    Args:
        weights: a view of the trained artifact: a whole model, or an adapter (then `folder` and `base` give the rest).
        merge: fold the adapter into the model.
    """
    if not (weights / ADAPTER_CONFIG).exists():
        return _whole(weights, {**loading, "quantization": None}).eval()
    link_base(folder, base)
    if merge:  # into the base's own weights: those of a quantized one cannot take it
        loading = {**loading, "quantization": None}
    model = reattach(_whole(folder, loading), weights, trainable=False)
    return (model.merge_and_unload() if merge else model).eval()
