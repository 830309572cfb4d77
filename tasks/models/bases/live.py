"""A module that exists only in this process: a plain `torch.nn.Module`, or a class that transformers does not have.

Its weights are files like any base's. The object itself stays in this process, and wherever a run needs the model it
gets a copy with the weights of that stage. The source of its classes is part of the key of what is made with it;
nothing is pickled.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import ModelOutput

from tasks.artifacts.formats import json
from tasks.artifacts.keys.code import function_version
from tasks.config.errors import ConfigError
from tasks.models.bases.files import INDEX, LIVE, LIVE_FILE, WEIGHTS
from tasks.models.sharing import absent, write_once

LIBRARIES = ("torch", "transformers", "peft")


def is_of_a_library(model: nn.Module) -> bool:
    """Whether transformers can make the model from its config, so that no live object is needed."""
    return isinstance(model, PreTrainedModel) and type(model).__module__.partition(".")[0] in LIBRARIES


@dataclass(frozen=True)
class Live:
    """A caller's module, used like a class: `from_pretrained` returns copies of it.

    Attributes:
        name: its name in a run. code: the code versions of its classes, including submodules.
    """

    module: nn.Module
    name: str
    code: Mapping[str, str]

    def save(self, folder: Path) -> None:
        """Write its config and weights, and `live.json`."""
        _config_of(self.module).save_pretrained(folder)
        save_module(self.module, folder)
        json.write({"auto_model": self.name, "code": dict(self.code)}, folder / LIVE_FILE)

    def from_pretrained(self, folder: Path, *, output_loading_info: bool = False, **arguments: Any) -> Any:
        """Return a copy with the weights in `folder`; arguments that are config fields are set in its config."""
        model: Any = copy.deepcopy(self.module)
        model.config = copy.deepcopy(_config_of(self.module))
        loaded = PreTrainedConfig.from_pretrained(folder)
        model.config.update({name: getattr(loaded, name) for name in SET_BY_RUN if hasattr(loaded, name)})
        model.config.update({name: value for name, value in arguments.items() if name not in LOADING})
        if isinstance(dtype := arguments.get("dtype"), torch.dtype):
            model.to(dtype)
        state = _weights(folder)
        model.load_state_dict(state, strict=False)
        missing = set(absent(model, model.state_dict().keys() - state.keys()))
        model.accepts_loss_kwargs = False  # assume that its loss is a mean
        model._keys_to_ignore_on_save = getattr(model, "_keys_to_ignore_on_save", None)  # the Trainer reads it
        _drop_unknown_arguments(model)
        model.register_forward_hook(_as_output, with_kwargs=True)
        model.eval()
        return (model, {"missing_keys": missing, "mismatched_keys": set()}) if output_loading_info else model

    def from_config(self, _: object, **__: object) -> nn.Module:
        """Return a copy: it cannot be made in another size."""
        return copy.deepcopy(self.module)


LOADING = ("dtype", "attn_implementation", "quantization_config", "device_map", "trust_remote_code",
           "local_files_only", "ignore_mismatched_sizes")  # fmt: skip
SET_BY_RUN = ("id2label", "label2id", "problem_type", "pad_token_id")  # fields that a run sets in a config
_held: ContextVar[Live | None] = ContextVar("finetune_live", default=None)


@contextmanager
def holding(live: Live | None) -> Iterator[None]:
    """Make `live` available to the runs within."""
    token = _held.set(live)
    try:
        yield
    finally:
        _held.reset(token)


def held(name: str) -> Live:
    """Return the live module with that name.

    Raises:
        ConfigError: it is not in this process.
    """
    live = _held.get()
    if live is None or live.name != name:
        raise ConfigError(f"model.name: its weights need the class {name.removeprefix(LIVE)}, which is not in this "
                          "process; give the live (model, tokenizer) pair to HFTrainer again")  # fmt: skip
    return live


def live_of(module: nn.Module) -> Live:
    """Return `module` as a base.

    Raises:
        ConfigError: it has no config, or its source cannot be read.
    """
    if not isinstance(module, nn.Module) or not hasattr(module, "config"):
        raise ConfigError("base: a live model must be a torch.nn.Module with a `config` (a transformers config, or an "
                          "object with its fields) and a forward that returns `loss` and `logits`")  # fmt: skip
    classes = {type(each) for each in module.modules()}
    code: dict[str, str] = {}
    for each in sorted(classes, key=lambda one: f"{one.__module__}.{one.__qualname__}"):
        if each.__module__.partition(".")[0] not in LIBRARIES:
            try:
                code |= function_version(each)
            except TypeError as error:
                raise ConfigError(f"base: {error}") from error
    return Live(module, f"{LIVE}{type(module).__module__}:{type(module).__qualname__}", code)


def save_module(module: nn.Module, folder: Path) -> None:
    """Write a module's parameters as `model.safetensors`; of tied ones only the first."""
    write_once(module.state_dict(), folder / WEIGHTS)


def check_width(model: nn.Module, wanted: int) -> None:
    """Run a live model on one text and check that it returns one logit per class: its head cannot be changed.

    Raises:
        ConfigError: it returns another number.
    """
    ids = torch.zeros((1, 4), dtype=torch.long, device=next(model.parameters()).device)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    width = found.logits.shape[-1] if getattr(found, "logits", None) is not None else None
    if width != wanted:
        raise ConfigError(f"base: the live model's forward returns {width or 'no'} logits, and the data needs "
                          f"{wanted}; give it a head of that size")  # fmt: skip


def _config_of(module: Any) -> PreTrainedConfig:
    given = module.config
    if isinstance(given, PreTrainedConfig):
        return given
    return PreTrainedConfig(**(given if isinstance(given, Mapping) else vars(given)))


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    if not (folder / INDEX).exists():
        return load_file(folder / WEIGHTS)
    where: Mapping[str, str] = json.read(folder / INDEX)["weight_map"]
    found = {shard: load_file(folder / shard) for shard in set(where.values())}
    return {name: found[shard][name] for name, shard in where.items()}


def _as_output(_: nn.Module, given: object, named: Mapping[str, Any], found: object) -> Any:
    """Convert a forward's dict, (loss, logits) or (logits,) to a ModelOutput with names."""
    if isinstance(found, tuple | list):
        names = ("loss", "logits") if named.get("labels") is not None else ("logits",)
        found = dict(zip(names, found, strict=False))
    if isinstance(found, dict) and not isinstance(found, ModelOutput):
        return SequenceClassifierOutput(loss=found.get("loss"), logits=found.get("logits"))
    return found


def _drop_unknown_arguments(model: nn.Module) -> None:
    """Let a forward without `**kwargs` be called with all fields of a batch."""
    known = inspect.signature(type(model).forward).parameters
    if any(each.kind == inspect.Parameter.VAR_KEYWORD for each in known.values()):
        return

    def drop(_: nn.Module, given: object, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return given, {name: value for name, value in named.items() if name in known}

    model.register_forward_pre_hook(drop, with_kwargs=True)
