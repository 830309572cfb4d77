"""Optimizer, scheduler and generator states without pickle: tensors as safetensors, the rest as JSON.

Checkpoints are in the store, and reading from the store must not run code. Every number is restored bit for bit (also
floats in JSON).
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LambdaLR

from tasks.config.errors import ConfigError

TENSOR = "__tensor__"
ADOPTED = "adopted.json"
"""Marks an adopted checkpoint of another training: its moments and step are used, its learning rate is not."""


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write `optimizer.safetensors` and `optimizer.json`.

    Raises:
        TypeError: the optimizer has state that is neither tensor nor JSON.
    """
    write_optimizer(optimizer.state_dict(), folder)


def write_optimizer(states: dict[str, Any], folder: Path) -> None:
    """Write an optimizer's `state_dict`."""
    write_tree(states, folder, "optimizer")


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Restore what `save_optimizer` wrote.

    Raises:
        ConfigError: it is from another type of optimizer, or for other parameters.
    """
    rest = read_tree(folder, "optimizer")
    state = {int(index): entries for index, entries in rest["state"].items()}
    groups = rest["param_groups"]
    if (folder / ADOPTED).exists():
        _check_states(state, optimizer)
        groups = optimizer.state_dict()["param_groups"]
    for group, present in zip(groups, optimizer.state_dict()["param_groups"], strict=True):
        for name, value in present.items():
            if isinstance(value, tuple):
                group[name] = tuple(group[name])
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _check_states(found: dict[int, Any], optimizer: torch.optim.Optimizer) -> None:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    moments = {name for entry in found.values() for name in entry}
    adam = "Adam" in type(getattr(optimizer, "optimizer", optimizer)).__name__
    same = all(
        value.dim() == 0 or value.numel() <= 1 or not name.startswith("exp_avg") or value.shape == parameters[at].shape
        for at, entry in found.items() if at < len(parameters) for name, value in entry.items()
        if isinstance(value, torch.Tensor)
    )  # fmt: skip
    if not same or any(at >= len(parameters) for at in found) or (adam and found and "exp_avg" not in moments):
        raise ConfigError("train.resume_from_checkpoint: the checkpoint's optimizer has another type or other "
                          "parameters; train.optim and peft must be those of the checkpoint")  # fmt: skip


def _take_tensors(value: object, tensors: dict[str, torch.Tensor], known: dict[int, str]) -> Any:
    """Replace each tensor in `value` by a number and put it into `tensors` (some optimizers nest theirs).

    Args:
        known: numbers by tensor id, since parameters may share a tensor (the code book of 8-bit optimizers).
    """
    if isinstance(value, torch.Tensor):
        number = known.setdefault(id(value), str(len(tensors)))
        if number not in tensors:
            tensors[number] = value.detach().cpu().contiguous()
        return {TENSOR: number}
    if isinstance(value, dict):
        return {str(name): _take_tensors(leaf, tensors, known) for name, leaf in value.items()}
    return [_take_tensors(leaf, tensors, known) for leaf in value] if isinstance(value, list | tuple) else value


def _put_tensors(value: object, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if TENSOR in value:
            return tensors[value[TENSOR]]
        return {name: _put_tensors(leaf, tensors) for name, leaf in value.items()}
    return [_put_tensors(leaf, tensors) for leaf in value] if isinstance(value, list) else value


def write_tree(value: object, folder: Path, name: str) -> None:
    """Write `<name>.safetensors` and `<name>.json`: a tree of dicts and lists of tensors, numbers and strings.

    Raises:
        TypeError: it contains something else.
    """
    tensors: dict[str, torch.Tensor] = {}
    write_json(_take_tensors(value, tensors, {}), folder / f"{name}.json")
    save_file(tensors, folder / f"{name}.safetensors")


def read_tree(folder: Path, name: str) -> Any:
    """Return what `write_tree` wrote; keys of dicts are then strings."""
    return _put_tensors(read_json(folder / f"{name}.json"), load_file(folder / f"{name}.safetensors"))


def save_scheduler(scheduler: Any, folder: Path) -> None:
    """Write `scheduler.json`."""
    write_json(scheduler.state_dict(), folder / "scheduler.json")


def load_scheduler(scheduler: Any, folder: Path) -> None:
    """Restore what `save_scheduler` wrote; of an adopted checkpoint only the step, from which this schedule
    continues."""
    saved = read_json(folder / "scheduler.json")
    if not ((folder / ADOPTED).exists() and isinstance(scheduler, LambdaLR)):
        scheduler.load_state_dict(saved)
        return
    scheduler.load_state_dict({name: saved[name] for name in ("last_epoch", "_step_count")} | {
        "lr_lambdas": [None] * len(scheduler.lr_lambdas)})  # fmt: skip
    rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, scheduler.optimizer.param_groups, strict=True)
    for rate, factor, group in rates:
        group["lr"] = rate * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]


def capture_rng() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the state of every random generator: torch's (and CUDA's), Python's, numpy's."""
    tensors = {"torch": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    name, keys, *rest = np.random.get_state(legacy=True)
    return tensors, {"python": random.getstate(), "numpy": [name, np.asarray(keys).tolist(), *rest]}


def apply_rng(state: tuple[dict[str, torch.Tensor], dict[str, Any]]) -> None:
    """Restore every generator to a captured state."""
    tensors, plain = state
    torch.random.set_rng_state(tensors["torch"])
    for name, tensor in tensors.items():
        if name.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensor, int(name[4:]))
    version, internal, gauss = plain["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = plain["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))


def save_rng(state: tuple[dict[str, torch.Tensor], dict[str, Any]], folder: Path, name: str) -> None:
    """Write `<name>.safetensors` and `<name>.json`."""
    save_file(state[0], folder / f"{name}.safetensors")
    write_json(state[1], folder / f"{name}.json")


def load_rng(folder: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return what `save_rng` wrote."""
    return load_file(folder / f"{name}.safetensors"), read_json(folder / f"{name}.json")


def write_json(value: object, path: Path) -> None:
    """Write a small state (infinities allowed, unlike in artifacts)."""
    path.write_text(json.dumps(value))


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote."""
    return json.loads(path.read_text())
