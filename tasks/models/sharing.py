"""Tied parameters, which share memory: only one of them is written, and if one is present, all are."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn


def write_once(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors; of tied ones only the first."""
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        kept.setdefault(tensor.data_ptr() if tensor.numel() else id(name), (name, tensor.detach().cpu().contiguous()))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(kept.values()), path, metadata={"format": "pt"})


def absent(model: nn.Module, missing: Iterable[str]) -> list[str]:
    """Return a model's `missing` parameters that are not tied to a present one."""
    state, missing = model.state_dict(), set(missing)
    there = {tensor.data_ptr() for name, tensor in state.items() if name not in missing}
    return sorted(name for name in missing if name in state and state[name].data_ptr() not in there)


def unshare(model: Any) -> None:
    """Give each tied parameter of a transformers model its own memory if its config no longer ties them.

    peft sets it so where a merge separates some of them. transformers would save the others once, and initialize those
    it does not find.
    """
    if getattr(model.config, "tie_word_embeddings", False):
        return
    for name in getattr(model, "all_tied_weights_keys", {}):
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        setattr(module, leaf, nn.Parameter(getattr(module, leaf).detach().clone()))
    model.all_tied_weights_keys = {}
