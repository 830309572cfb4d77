"""A model folder, loaded to be asked: whole models, adapters, and our own composites."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.errors import ConfigError
from tasks.models.load import model_class, quiet


def load_saved(folder: Path, auto_model: str, asked: bool, dtype: str = "auto", attn: str | None = None) -> Any:
    """Return the model in `folder`, in eval mode.

    Args:
        auto_model: the transformers class, or ours (`module:attr`), whose parts lie in folders of their own.
        asked: whether it is asked about rows without answers; of replaced-token detection that is the discriminator.
        dtype: torch's name of the parameters' type, or `auto`. attn: `attn_implementation`.

    Raises:
        ConfigError: the base of an adapter is gone, or weights are missing.
    """
    quiet()
    more: dict[str, Any] = {"dtype": dtype, **({"attn_implementation": attn} if attn else {})}
    if ":" in auto_model:
        return _composite(folder, auto_model, asked, more).eval()
    adapter = folder / "adapter_config.json"
    if not adapter.exists():
        return _whole(folder, auto_model, more).eval()
    return _adapted(folder, json.loads(adapter.read_text()), auto_model, more).eval()


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


def _adapted(folder: Path, adapter: Mapping[str, Any], auto_model: str, more: Mapping[str, Any]) -> Any:
    from peft import PeftModel
    from transformers import AutoConfig

    base = adapter["base_model_name_or_path"]
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    try:  # a head the base lacks is drawn here, and replaced by the adapter's own
        model = model_class(auto_model).from_pretrained(base, config=config, ignore_mismatched_sizes=True, **more)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"MODEL: {folder} is an adapter to {base!r}, which cannot be loaded: {reason}; put it there, or train "
            "with export.merge: true"
        ) from error
    return PeftModel.from_pretrained(model, str(folder))
