"""A model folder, loaded to be asked: whole models, adapters, and our own composites."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.backend import sha256_file
from tasks.config import ModelConfig
from tasks.config.errors import ConfigError
from tasks.models.bases.base import base_files, is_adapter, link
from tasks.models.bases.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INSIDE, LIVE
from tasks.models.load import model_class, quantization_config, quiet


def load_saved(
    folder: Path, loading: Mapping[str, Any], asked: bool, quantized: bool = True, base: Mapping[str, str] | None = None
) -> Any:
    """Return the model in `folder`, in eval mode.

    Args:
        loading: fields of `Loading`; its `auto_model` may be ours (`module:attr`), with parts in folders of their own.
        asked: whether it is asked about rows without answers; of replaced-token detection that is the discriminator.
        quantized: whether an adapter's base is quantized if it was in training, which takes a GPU.
        base: the digests of the weights an adapter was trained on, by file; without any, its base is taken as it is.

    Raises:
        ConfigError: the base of an adapter is gone or has other weights, or weights are missing.
    """
    quiet()
    auto_model, attn = loading["auto_model"], loading.get("attn_implementation")
    more: dict[str, Any] = {"dtype": loading.get("dtype", "auto"), **({"attn_implementation": attn} if attn else {})}
    more |= {"trust_remote_code": True} if loading.get("trust_remote_code") else {}
    if ":" in auto_model and not auto_model.startswith(LIVE):
        return _composite(folder, auto_model, asked, more).eval()
    if not is_adapter(folder):
        return _whole(folder, auto_model, more).eval()
    if quantized and loading.get("quantization"):
        config = quantization_config(loading["quantization"], loading["spared"])
        more |= {"quantization_config": config, "device_map": {"": 0}}
    return _adapted(folder, auto_model, more, base or {}).eval()


def _composite(folder: Path, auto_model: str, asked: bool, more: Mapping[str, Any]) -> Any:
    kind = model_class(auto_model)
    return kind.discriminator_from(folder, **more) if asked else kind.from_parts(folder, **more)


def _whole(folder: Path, auto_model: str, more: Mapping[str, Any]) -> Any:
    try:
        model, info = model_class(auto_model).from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **more
        )
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"MODEL: {folder} cannot be loaded as {auto_model}: {reason}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(f"MODEL: {folder} lacks {', '.join(missing[:3])}, which {auto_model} needs: it was not "
                          "trained for this task")  # fmt: skip
    return model


def _adapted(folder: Path, auto_model: str, more: Mapping[str, Any], base: Mapping[str, str]) -> Any:
    from transformers import AutoConfig

    from tasks.models.adapters import reattach
    from tasks.models.folding import head_width, saved_whole

    try:
        files = base_files(ModelConfig(name=str(folder), trust_remote_code="trust_remote_code" in more))
    except ConfigError as error:
        raise ConfigError(f"MODEL: {str(error).removeprefix('model.name: ')}") from error
    for name, digest in base.items():
        if name not in files or sha256_file(files[name].resolve()) != digest:
            raise ConfigError(f"MODEL: the base of {folder} has other weights ({name}) than those it was trained on; "
                              "bring those back, or fine-tune again")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        view = link({name: path for name, path in files.items() if not name.startswith(INSIDE)}, Path(scratch))
        config = AutoConfig.from_pretrained(view, local_files_only=True, trust_remote_code="trust_remote_code" in more)
        if "Classification" in auto_model and (labels := head_width(folder)):
            config.num_labels = labels
        try:  # a head the base lacks is drawn here, and replaced by the adapter's own
            model, info = model_class(auto_model).from_pretrained(
                view, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **more
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"MODEL: the base of {folder} cannot be loaded as {auto_model}: {reason}") from error
    drawn = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    if lacking := sorted(drawn - saved_whole(folder)):
        raise ConfigError(f"MODEL: neither {folder} nor its base has {', '.join(lacking[:3])}, which {auto_model} "
                          "needs: it was not trained for this task")  # fmt: skip
    try:
        return reattach(model, folder, trainable=False)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"MODEL: the adapter in {folder} cannot be used ({ADAPTER_CONFIG} and "
                          f"{ADAPTER_WEIGHTS}): {type(error).__name__}: {reason}") from error  # fmt: skip
