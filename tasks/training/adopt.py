"""Start a training from the checkpoint of another one: ours, or one written by transformers' Trainer.

Its pickles are read as tensors and plain values only (`weights_only`), and written without pickle. The optimizer's
moments, the step and the random generators are restored; learning rate, weight decay and other options are those of
the new training.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import TrainerState

from tasks.artifacts.formats.manifest import MANIFEST, commit
from tasks.config.errors import ConfigError
from tasks.models.bases.files import PROMPT_ENCODER
from tasks.models.prompts import prompt_encoder
from tasks.training import state
from tasks.training.checkpoints import STATE, read_state

FIELD = "train.resume_from_checkpoint"
WEIGHTS = ("model", "adapter_model", PROMPT_ENCODER)  # first parts of the names of files with weights
PICKLED = (".pt", ".pth", ".bin", ".pkl")


def take_over(files: Mapping[str, Path], folder: Path, plan: Mapping[str, Any], model: torch.nn.Module) -> list[str]:
    """`adopt` a checkpoint of `model`; return how its training differs from `plan`.

    Raises:
        ConfigError: see `adopt` and `check_weights`.
    """
    adopted = adopt(files, folder)
    try:
        check_weights(model, adopted)
        return differences(adopted, plan)
    except ConfigError:
        shutil.rmtree(adopted)
        raise


def adopt(files: Mapping[str, Path], folder: Path) -> Path:
    """Write the checkpoint `files` (by name) to `folder` as a checkpoint of this training.

    Raises:
        ConfigError: it lacks a state that resuming needs, or cannot be read without running code.
    """
    saved = read_state(files[STATE])
    target = folder / f"checkpoint-{saved['global_step']}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, path in files.items():
        if path.suffix not in PICKLED and name != MANIFEST:
            shutil.copyfile(path, target / name)
    try:
        _write_states(files, target)
        _check_states(target)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, SafetensorError) as error:
        raise ConfigError(f"{FIELD}: the checkpoint's states of optimizer, scheduler and random generators are not "
                          f"as a Trainer writes them ({type(error).__name__}: {error})") from error  # fmt: skip
    # The best checkpoint is not adopted and callbacks start fresh; the library needs an entry for each of them.
    reset = {"best_metric": None, "best_model_checkpoint": None, "best_global_step": None,
            "stateful_callbacks": {"TrainerControl": {}, "EarlyStoppingCallback": {}}}  # fmt: skip
    known = {each.name for each in fields(TrainerState)}  # other versions of the library may write other fields
    kept = {name: value for name, value in saved.items() if name in known}
    (target / STATE).write_text(json.dumps({**kept, **reset}, indent=2))
    (target / state.ADOPTED).write_text("{}")
    commit(target)
    return target


def _write_states(files: Mapping[str, Path], target: Path) -> None:
    if "optimizer.pt" in files:
        state.write_optimizer(_tensors(files["optimizer.pt"]), target)
    if "scheduler.pt" in files:
        state.write_json(_tensors(files["scheduler.pt"]), target / "scheduler.json")
    if "scaler.pt" in files:
        state.write_json(_tensors(files["scaler.pt"]), target / "scaler.json")
    if "rng_state.pth" in files:
        state.save_rng(_generators(_tensors(files["rng_state.pth"])), target, "rng")
    if not (target / "rng.json").exists():  # files of several processes do not apply here
        state.save_rng(state.capture_rng(), target, "rng")
    if not (target / "epoch_rng.json").exists():
        for kind in ("json", "safetensors"):
            shutil.copyfile(target / f"rng.{kind}", target / f"epoch_rng.{kind}")
    for needed in ("optimizer.json", "scheduler.json"):
        if not (target / needed).exists():
            raise ConfigError(f"{FIELD}: the checkpoint has no {needed.removesuffix('.json')} state; to start from its "
                              "weights alone, set model to its folder")  # fmt: skip


def _check_states(target: Path) -> None:
    """Raise KeyError, TypeError, ValueError or SafetensorError for states from which a training cannot resume."""
    optimizer, scheduler = (state.read_json(target / f"{name}.json") for name in ("optimizer", "scheduler"))
    if not all(isinstance(group, dict) for group in [optimizer["state"], *optimizer["param_groups"]]):
        raise TypeError("the optimizer's state and groups are not dicts")
    if not all(type(scheduler[name]) is int for name in ("last_epoch", "_step_count")):
        raise TypeError("the scheduler's steps are not integers")
    before = state.capture_rng()
    try:
        for name in ("rng", "epoch_rng"):
            state.apply_rng(state.load_rng(target, name))
    except RuntimeError as error:  # torch's
        raise ValueError(str(error)) from error
    finally:
        state.apply_rng(before)
    for path in target.glob("*.safetensors"):
        with safe_open(path, framework="pt"):
            pass


def _tensors(path: Path) -> Any:
    """Return what `torch.save` wrote, limited to tensors, arrays and plain values."""
    import numpy as np
    from numpy._core.multiarray import _reconstruct

    allowed = [_reconstruct, np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # errors of pickle, zip and torch
        raise ConfigError(f"{FIELD}: {path.name} cannot be read without running code in it "
                          f"({str(error).splitlines()[0]})") from error  # fmt: skip


def _generators(saved: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Convert transformers' `rng_state.pth` to the form of `state.capture_rng`."""
    tensors, plain = state.capture_rng()
    name, keys, *rest = saved["numpy"]
    tensors["torch"] = saved["cpu"]
    if isinstance(saved.get("cuda"), torch.Tensor) and "cuda0" in tensors:
        tensors["cuda0"] = saved["cuda"]
    return tensors, {**plain, "python": saved["python"], "numpy": [name, keys.tolist(), *rest]}


def check_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Refuse a checkpoint of another model.

    Raises:
        ConfigError: a parameter differs.
    """
    own = get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()
    if (encoder := prompt_encoder(model)) is not None:
        own |= encoder.state_dict()
    there = dict(_shapes(checkpoint))
    for name, shape in there.items():
        if name not in own:
            raise ConfigError(f"{FIELD}: the checkpoint is of another model: this one has no {name} (peft, task and "
                              "base must be those of the checkpoint)")  # fmt: skip
        if list(own[name].shape) != shape:
            raise ConfigError(f"{FIELD}: the checkpoint is of another model: {name} has the shape {shape}, here "
                              f"{list(own[name].shape)}")  # fmt: skip
    held = {own[name].data_ptr() for name in there}  # tied weights are written once
    if missing := next((name for name, each in own.items() if name not in there and each.data_ptr() not in held), None):
        raise ConfigError(f"{FIELD}: the checkpoint is of another model: it has no {missing}")


def _shapes(checkpoint: Path) -> Iterator[tuple[str, list[int]]]:
    weights = [path for path in checkpoint.glob("*.safetensors") if path.name.startswith(WEIGHTS)]
    if not weights:
        raise ConfigError(f"{FIELD}: the checkpoint has no weights as safetensors")
    for path in weights:
        with safe_open(path, framework="pt") as file:
            yield from ((name, list(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def differences(checkpoint: Path, plan: Mapping[str, Any]) -> list[str]:
    """Return how the training of an adopted checkpoint differs from `plan`, as `name theirs → ours`."""
    saved, arguments = json.loads((checkpoint / STATE).read_text()), plan["arguments"]
    groups = state.read_json(checkpoint / "optimizer.json")["param_groups"]
    rates = state.read_json(checkpoint / "scheduler.json").get("base_lrs") or [None]
    each_epoch = round(saved["global_step"] / saved["epoch"]) if saved.get("epoch") else None
    pairs = {
        "steps": (saved.get("max_steps"), plan["steps"]["total"]),
        "steps an epoch": (each_epoch, plan["steps"]["steps_per_epoch"]),
        "train.per_device_train_batch_size": (saved.get("train_batch_size"), arguments["per_device_train_batch_size"]),
        "train.learning_rate": (rates[0], arguments["learning_rate"]),
        "train.weight_decay": (max(group.get("weight_decay", 0) for group in groups), arguments.get("weight_decay")),
    }
    return [f"{name} {theirs:g} → {ours:g}" for name, (theirs, ours) in pairs.items()
            if theirs is not None and ours is not None and theirs != ours]  # fmt: skip
