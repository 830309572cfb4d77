"""Weights to module, the same way for training, evaluation and the user.

A model artifact holds a config and only the parameters its base lacks, and those that an adapter of the base's has
changed; base weights stay where they are. They meet in a scratch folder: links to the base's shards, the artifact's own
shards, and an index that says which tensor lies where.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from tasks.artifacts.formats import weights
from tasks.models.bases.files import GENERATION, INDEX, INSIDE, LIVE, LIVE_FILE, MERGED

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
        spared: modules that are not quantized: they are trained, and the library spares only a head without bias.
    """

    auto_model: str
    dtype: str
    attn_implementation: str | None = None
    quantization: Mapping[str, Any] | None = None
    trust_remote_code: bool = False
    quantizer: str | None = None  # its version: it shapes what a quantized model computes
    spared: Sequence[str] = ()
    code: Mapping[str, str] | None = None  # of a live object: the versions of its classes' source


def link_base(folder: Path, base: Mapping[str, Path]) -> None:
    """Complete a view of a model artifact: link the base's shards, its generation config (and its code, where that was
    asked for), and index the shards together with the artifact's own, whose tensors replace the base's.

    Args:
        folder: holds the model's `config.json`; written into.
        base: the base's files by name.
    """
    where: dict[str, str] = {}
    for name, path in base.items():
        if name.endswith(".py") or name == GENERATION:
            (folder / name).symlink_to(path.resolve())
        if name.endswith(".safetensors") and not name.startswith(INSIDE):
            (folder / f"base-{name}").symlink_to(path.resolve())
            where |= dict.fromkeys(weights.header(path), f"base-{name}")
    for own in (MERGED, NEW):
        if (folder / own).exists():
            where |= dict.fromkeys(weights.header(folder / own), own)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def load(folder: Path, loading: Loading, **extra: Any) -> PreTrainedModel:
    """Load the model in `folder`. Extra arguments go to `from_pretrained`."""
    quiet()
    arguments: dict[str, Any] = {"dtype": getattr(torch, loading.dtype)}
    if loading.attn_implementation:
        arguments["attn_implementation"] = loading.attn_implementation
    if loading.quantization:
        arguments |= {"quantization_config": quantization_config(loading.quantization, loading.spared),
                      "device_map": {"": 0}}  # fmt: skip
    if loading.trust_remote_code:
        arguments["trust_remote_code"] = True
    auto = model_class(loading.auto_model)
    return auto.from_pretrained(folder, local_files_only=True, **arguments, **extra)


def model_class(name: str) -> Any:
    """A transformers class by name, one of ours by `module:attribute`, or a live object of the caller's."""
    if name.startswith(LIVE):
        from tasks.models.bases.live import held

        return held(name)
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute) if attribute else getattr(transformers, name)


def config_of(folder: Path, trust_remote_code: bool = False) -> Any:
    """The config in `folder`; of a live object's base whatever it says, for no architecture stands behind it."""
    if (folder / LIVE_FILE).exists():
        return transformers.PreTrainedConfig.from_pretrained(folder)
    return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def quiet() -> None:
    """Keep the library's progress bars and load reports out of the run's own output."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def quantization_config(arguments: Mapping[str, Any], spared: Sequence[str]) -> transformers.BitsAndBytesConfig:
    """The library's, from `Loading`'s fields of these names."""
    dtype = getattr(torch, arguments["bnb_4bit_compute_dtype"])
    more = {"llm_int8_skip_modules": list(spared)} if spared else {}
    return transformers.BitsAndBytesConfig(**{**arguments, "bnb_4bit_compute_dtype": dtype, **more})
