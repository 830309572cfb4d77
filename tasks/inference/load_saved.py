"""Load a model folder for inference: whole models, adapters, and our composites."""

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.backend import sha256_file
from tasks.config import ModelConfig
from tasks.config.errors import ConfigError
from tasks.models.bases.base import base_files, is_adapter, link
from tasks.models.bases.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INSIDE, LIVE
from tasks.models.device import device, kind, quantizes
from tasks.models.load import model_class, quantizing, quiet, unquantized

if TYPE_CHECKING:
    import torch


def load_saved(
    folder: Path, loading: Mapping[str, Any], unlabelled: bool, base: Mapping[str, str] | None = None
) -> "torch.nn.Module":
    """Return the model in `folder`, in eval mode.

    Args:
        loading: fields of `Loading`; its `auto_model` may be ours (`module:attr`), with parts in separate folders.
        unlabelled: whether it predicts on unlabelled rows; for replaced-token detection this loads the discriminator.
        base: digests of the weights that an adapter was trained on, by file; if empty, its base is not checked.

    Raises:
        ConfigError: an adapter's base is missing or has other weights, or weights are missing.
    """
    quiet()
    auto_model, attn = loading["auto_model"], loading.get("attn_implementation")
    more: dict[str, Any] = {"dtype": loading.get("dtype", "auto"), **({"attn_implementation": attn} if attn else {})}
    more |= {"trust_remote_code": True} if loading.get("trust_remote_code") else {}
    if ":" in auto_model and not auto_model.startswith(LIVE):
        return _load_composite(folder, auto_model, unlabelled, more).eval()
    if not is_adapter(folder):
        return _load_whole(folder, auto_model, more).eval()
    if loading.get("quantization"):
        more |= quantizing(loading["quantization"], loading["spared"], loading["quantized_on"])
    return _load_adapter(folder, auto_model, more, base or {}).eval()


def as_here(folder: Path, loading: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return how to load a model on this machine, and how its base is quantized otherwise than in training, if so."""
    if not loading.get("quantization"):
        return loading, ""
    if not is_adapter(folder):
        return unquantized(loading), "its adapter was trained on a quantized base, and merged into the unquantized one"
    if not quantizes(device()) or "quantized_on" not in loading:  # earlier versions do not say what was quantized
        return unquantized(loading), "its base was quantized in training and evaluation, and is not here"
    ours = {"quantizer": version("bitsandbytes"), "quantized_on": kind(device())}
    then, now = (f"bitsandbytes {each['quantizer']} on {each['quantized_on']}" for each in (loading, ours))
    return {**loading, **ours}, "" if then == now else f"its base was quantized by {then} in training, by {now} here"


def _load_composite(folder: Path, auto_model: str, unlabelled: bool, more: Mapping[str, Any]) -> "torch.nn.Module":
    kind = model_class(auto_model)
    return kind.discriminator_from(folder, **more) if unlabelled else kind.from_parts(folder, **more)


def _load_whole(folder: Path, auto_model: str, more: Mapping[str, Any]) -> "torch.nn.Module":
    try:
        model, info = model_class(auto_model).from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **more
        )
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"MODEL: {folder} cannot be loaded as {auto_model}: {reason}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(f"MODEL: {folder} lacks weights {', '.join(missing[:3])} of {auto_model}: it was not "
                          "trained for this task")  # fmt: skip
    return model


def _load_adapter(folder: Path, auto_model: str, more: Mapping[str, Any], base: Mapping[str, str]) -> "torch.nn.Module":
    from transformers import AutoConfig

    from tasks.models.adapters import reattach
    from tasks.models.folding import head_width, saved_whole

    try:
        files = base_files(ModelConfig(name=str(folder), trust_remote_code="trust_remote_code" in more))
    except ConfigError as error:
        raise ConfigError(f"MODEL: {str(error).removeprefix('model.name: ')}") from error
    for name, digest in base.items():
        if name not in files or sha256_file(files[name].resolve()) != digest:
            raise ConfigError(f"MODEL: the base of {folder} has other weights ({name}) than in training; restore "
                              "those, or fine-tune again")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        view = link({name: path for name, path in files.items() if not name.startswith(INSIDE)}, Path(scratch))
        config = AutoConfig.from_pretrained(view, local_files_only=True, trust_remote_code="trust_remote_code" in more)
        if "Classification" in auto_model and (labels := head_width(folder)):
            config.num_labels = labels
        try:  # a missing head is initialized here, and replaced by the adapter's
            model, info = model_class(auto_model).from_pretrained(
                view, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **more
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"MODEL: the base of {folder} cannot be loaded as {auto_model}: {reason}") from error
    initialized = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    if lacking := sorted(initialized - saved_whole(folder)):
        raise ConfigError(f"MODEL: neither {folder} nor its base has the weights {', '.join(lacking[:3])} of "
                          f"{auto_model}: it was not trained for this task")  # fmt: skip
    try:
        return reattach(model, folder, trainable=False)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"MODEL: the adapter in {folder} cannot be used ({ADAPTER_CONFIG} and "
                          f"{ADAPTER_WEIGHTS}): {type(error).__name__}: {reason}") from error  # fmt: skip
