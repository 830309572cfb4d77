"""Weights to module, the same way for training, evaluation and the user.

A model artifact holds a config and only the parameters its base lacks; base weights stay where they are. Both meet in
a scratch folder: links to the base's shards, the new shard, and an index that says which tensor lies where.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from tasks.artifacts.formats import weights

INDEX = "model.safetensors.index.json"
NEW = "new.safetensors"


@dataclass(frozen=True)
class Loading:
    """How a model is loaded, as data (`load.json`).

    Attributes:
        auto_model: the transformers auto class.
        dtype: torch's name of the parameters' type.
        attn_implementation: None for the library's choice.
        quantization: arguments of `BitsAndBytesConfig`, or None.
        trust_remote_code: whether code beside the weights may run.
    """

    auto_model: str
    dtype: str
    attn_implementation: str | None = None
    quantization: Mapping[str, Any] | None = None
    trust_remote_code: bool = False
    quantizer: str | None = None  # its version: it shapes what a quantized model computes


def link_base(folder: Path, base: Mapping[str, Path], new: Path | None) -> None:
    """Complete a view of a model artifact: link the base's shards and index them together with the new one.

    Args:
        folder: holds the model's `config.json`; written into.
        base: the base's files by name.
        new: a safetensors file whose tensors stand before the base's, or None.
    """
    where: dict[str, str] = {}
    for name, path in base.items():
        if name.endswith(".safetensors"):
            (folder / f"base-{name}").symlink_to(path.resolve())
            where |= dict.fromkeys(weights.header(path), f"base-{name}")
    if new is not None:
        where |= dict.fromkeys(weights.header(new), NEW)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def load(folder: Path, loading: Loading, **extra: Any) -> PreTrainedModel:
    """Load the model in `folder`. Extra arguments go to `from_pretrained`."""
    quiet()
    arguments: dict[str, Any] = {"dtype": getattr(torch, loading.dtype)}
    if loading.attn_implementation:
        arguments["attn_implementation"] = loading.attn_implementation
    if loading.quantization:
        arguments |= {"quantization_config": _quantization(loading.quantization, folder), "device_map": {"": 0}}
    if loading.trust_remote_code:
        arguments["trust_remote_code"] = True
    auto = model_class(loading.auto_model)
    return auto.from_pretrained(folder, local_files_only=True, **arguments, **extra)


def model_class(name: str) -> Any:
    """A transformers class by name, or one of ours by `module:attribute`."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute) if attribute else getattr(transformers, name)


def quiet() -> None:
    """Keep the library's progress bars and load reports out of the run's own output."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _quantization(arguments: Mapping[str, Any], folder: Path) -> transformers.BitsAndBytesConfig:
    """What the base lacks is trained and must stay as it is; the library spares only a head without bias."""
    dtype = getattr(torch, arguments["bnb_4bit_compute_dtype"])
    new = weights.header(folder / NEW) if (folder / NEW).exists() else {}
    spared = sorted({name.rpartition(".")[0] for name in new})
    more = {"llm_int8_skip_modules": spared} if spared else {}
    return transformers.BitsAndBytesConfig(**{**arguments, "bnb_4bit_compute_dtype": dtype, **more})
