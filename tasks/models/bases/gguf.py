"""GGUF files as bases: dequantized once, into a folder of the cache that is a base like any other."""

import logging
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.backend import sha256_file
from tasks.config.cache import cache_home
from tasks.config.errors import ConfigError

SUFFIX = ".gguf"


def materialized(file: Path) -> Path:
    """Return a folder with the config, tokenizer and float32 weights of a GGUF file.

    Raises:
        ConfigError: the package gguf is missing, or the file is no causal language model that transformers reads.
    """
    stat = file.stat()
    return _materialized(file, stat.st_size, stat.st_mtime_ns)


@cache
def _materialized(file: Path, size: int, changed: int) -> Path:
    folder = cache_home() / "gguf" / sha256_file(file)
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise ConfigError(f"model.name: {file.name} is a GGUF file; to read it: pip install gguf")
    logging.getLogger("finetune").info(f"model.name: {file.name} is converted to float32 weights in {folder}, once")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        _convert(file, made)
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _convert(file: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.models.load import quiet

    quiet()
    given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, **given)
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **given)
    except Exception as error:  # whatever the parsers of a foreign file raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"model.name: transformers cannot read {file.name}: {reason}") from error
    model.hf_quantizer.remove_quantization_config(
        model
    )  # the weights are dequantized; transformers still refuses to save
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
