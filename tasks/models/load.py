"""Load weights into a module, the same way for training, evaluation and the user.

A model artifact contains a config and only the parameters that its base lacks or that the base's adapter changed; base
weights stay where they are. A scratch folder combines them: links to the base's shards, the artifact's own shards, and
an index of tensors to files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from transformers import PreTrainedModel

from tasks.artifacts.formats import weights
from tasks.models.bases.files import GENERATION, INDEX, INSIDE, LIVE, LIVE_FILE, MERGED

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NEW = "new.safetensors"


@dataclass(frozen=True)
class Loading:
    """Loading options as data (`load.json`).

    Attributes:
        auto_model: the transformers auto class.
        dtype: torch's name of the parameters' type; `auto`: the one in the model's config.
        attn_implementation: None for the library's default.
        quantization: arguments of `BitsAndBytesConfig`, or None.
        trust_remote_code: whether code in the model's folder may run.
        quantizer: version of bitsandbytes, which affects what a quantized model computes.
        quantized_on: type of device (`cpu` or `cuda`) of a quantized model.
        spared: modules that are not quantized.
    """

    auto_model: str
    dtype: str
    attn_implementation: str | None = None
    quantization: Mapping[str, Any] | None = None
    trust_remote_code: bool = False
    quantizer: str | None = None
    quantized_on: str = "cpu"
    spared: Sequence[str] = ()
    code: Mapping[str, str] | None = None  # of a live model: the code versions of its classes


def link_base(folder: Path, base: Mapping[str, Path]) -> None:
    """Complete a view of a model artifact: link the base's shards, its generation config and, if trusted, its code, and
    index them with the artifact's own shards, whose tensors replace the base's.

    Args:
        folder: with the model's `config.json`; the links and the index are written here.
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
    arguments: dict[str, Any] = {"dtype": loading.dtype}
    if loading.attn_implementation:
        arguments["attn_implementation"] = loading.attn_implementation
    if loading.quantization:
        arguments |= quantizing(loading.quantization, loading.spared, loading.quantized_on)
    if loading.trust_remote_code:
        arguments["trust_remote_code"] = True
    auto = model_class(loading.auto_model)
    return auto.from_pretrained(folder, local_files_only=True, **arguments, **extra)


def model_class(name: str) -> Any:
    """Return a transformers class by name, one of ours by `module:attribute`, or a live model of the caller's."""
    if name.startswith(LIVE):
        from tasks.models.bases.live import held

        return held(name)
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute) if attribute else getattr(transformers, name)


def config_of(folder: Path, trust_remote_code: bool = False) -> "PreTrainedConfig":
    """Return the config in `folder`; that of a live model is not tied to an architecture and is read as is."""
    if (folder / LIVE_FILE).exists():
        return transformers.PreTrainedConfig.from_pretrained(folder)
    return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def quiet() -> None:
    """Keep the library's progress bars and load reports out of the run's output."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def quantizing(quantization: Mapping[str, Any], spared: Sequence[str], where: str) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that quantize a model on a type of device; see `Loading`."""
    config = transformers.BitsAndBytesConfig(**quantization, llm_int8_skip_modules=list(spared))
    return {"quantization_config": config, "device_map": {"": "cpu" if where == "cpu" else 0}}


def unquantized(loading: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options to load the same model in the precision of its base, into which an adapter can be merged."""
    return {**loading, "quantization": None, "dtype": "auto"} if loading.get("quantization") else loading
