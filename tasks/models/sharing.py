"""Parameters that share their memory: one of them is written, and where one is, all are."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


def write_once(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors; of those that share their memory the first."""
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        kept.setdefault(tensor.data_ptr() if tensor.numel() else id(name), (name, tensor.detach().cpu().contiguous()))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(kept.values()), path, metadata={"format": "pt"})


def absent(model: nn.Module, missing: Iterable[str]) -> list[str]:
    """Those of a model's `missing` parameters that share their memory with none that is there."""
    state, missing = model.state_dict(), set(missing)
    there = {tensor.data_ptr() for name, tensor in state.items() if name not in missing}
    return sorted(name for name in missing if name in state and state[name].data_ptr() not in there)
