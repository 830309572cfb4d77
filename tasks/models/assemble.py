"""Load a live model from artifacts: the same way for training, evaluation and users."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.errors import MachineError
from tasks.models.adapters import merged, reattach
from tasks.models.bases.files import ADAPTER_CONFIG, INSIDE, MERGED
from tasks.models.load import Loading, link_base, load, unquantized


def starting_model(folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], adapter: Path | None) -> Any:
    """Return the model before training.

    Args:
        folder: a view of a model artifact. base: the base's files. adapter: a view of an adapter artifact.
    """
    link_base(folder, base)
    model = _load_complete(folder, loading)
    return reattach(model, adapter, trainable=True) if adapter is not None else model


def untrained_model(folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any]) -> Any:
    """Return the model before training, in eval mode, without a new adapter, but with the base's own if it was trained
    on (`peft: continue`). For arguments see `starting_model`."""
    merged_in, own = (folder / MERGED).exists(), base.get(INSIDE + ADAPTER_CONFIG)
    model = starting_model(folder, base, loading, None)
    return (reattach(model, own.parent, trainable=False) if own and not merged_in else model).eval()


def _load_complete(folder: Path, loading: Mapping[str, Any]) -> Any:
    """Load a complete model; raise if weights are missing, which the library would silently initialize."""
    model, info = load(folder, Loading(**loading), output_loading_info=True)  # type: ignore[misc]
    if info["missing_keys"]:
        raise MachineError(f"the model's folder lacks weights {sorted(info['missing_keys'])[:3]}; its base has changed")
    return model


def trained_model(
    weights: Path, folder: Path, base: Mapping[str, Path], loading: Mapping[str, Any], merge: bool = False
) -> Any:
    """Return the model after training, in eval mode; an adapter is trainable, as in training.

    Args:
        weights: a view of the trained artifact: a whole model, or an adapter (then `folder` and `base` give the rest).
        merge: fold the adapter into the model.
    """
    if not (weights / ADAPTER_CONFIG).exists():
        return _load_complete(weights, unquantized(loading)).eval()
    link_base(folder, base)
    if merge:
        loading = unquantized(loading)
    model = reattach(_load_complete(folder, loading), weights, trainable=not merge)
    return (merged(model) if merge else model).eval()
