"""Write a base's tokenizer and limits as files that later stages use without reading the base again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, GenerationConfig

from tasks.artifacts.formats import json
from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.models.bases.chat_template import set_template
from tasks.models.bases.core_tokenizer import UNBOUNDED, limit
from tasks.models.bases.files import GENERATION
from tasks.models.load import config_of, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

COUNTS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams", "num_return_sequences")


def read_base(folder: Path, out: Path, trust_remote_code: bool, chat_template: str | None = None) -> JsonObject:
    """Write tokenizer files, `config.json` and `processor.json` of the base in `folder` to `out`.

    Args:
        chat_template: text that replaces the tokenizer's own.

    Returns:
        `model_type`, `max_length` (in tokens, including special ones), `vocabulary` (embedding rows that its ids need),
        the tokenizer's class, and for estimates `hidden_size`, `num_layers`, `num_heads`.

    Raises:
        ConfigError: the config, the generation config or the tokenizer cannot be read.
    """
    quiet()
    try:
        config = config_of(folder, trust_remote_code)
    except (ValueError, OSError) as error:
        raise ConfigError(f"model.name: its config.json cannot be used: {_first_line(error, folder)}") from error
    _check_generation(folder)
    tokenizer = open_tokenizer(folder, trust_remote_code)
    if chat_template is not None:
        set_template(tokenizer, chat_template)
    text = config.get_text_config()
    if (length := limit_of(tokenizer, text)) < UNBOUNDED:
        tokenizer.model_max_length = length  # else users who truncate by it give the model more than it supports
    tokenizer.save_pretrained(out)
    config.save_pretrained(out)
    json.write(processor_of(tokenizer), out / "processor.json")
    return {
        "model_type": config.model_type,
        "max_length": length,
        "vocabulary": max(tokenizer.get_vocab().values()) + 1,
        "hidden_size": getattr(text, "hidden_size", None),
        "num_layers": getattr(text, "num_hidden_layers", None),
        "num_heads": getattr(text, "num_attention_heads", None),
        "tokenizer": type(tokenizer).__name__,
        "trust_remote_code": trust_remote_code,
    }


def _check_generation(folder: Path) -> None:
    """Raise ConfigError for a generation config with which a model cannot be loaded."""
    if not (folder / GENERATION).is_file():
        return
    try:
        given = GenerationConfig.from_dict(json.read(folder / GENERATION))
        given.validate()
        if odd := next((name for name in COUNTS if type(getattr(given, name)) not in (int, type(None))), None):
            raise TypeError(f"{odd} is {getattr(given, odd)!r}, not a whole number")
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"model.name: its {GENERATION} cannot be used: {_first_line(error, folder)}") from error


def open_tokenizer(folder: Path, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    """Return a folder's tokenizer, with a padding token and without its own limits.

    Raises:
        ConfigError: it cannot be read, has no vocabulary, or no token to pad with.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, TypeError) as error:
        raise ConfigError(f"model.name: it has no usable tokenizer: {_first_line(error, folder)}") from error
    if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):
        # transformers silently makes one from the config alone, in which every word is unknown
        raise ConfigError(
            "model.name: it has no tokenizer: none of its files (tokenizer.json, vocab.txt, …) has a vocabulary"
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError("model.name: its tokenizer has neither a padding nor an end token; batches need one")
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def processor_of(tokenizer: Any) -> JsonObject:
    """Return what collators and views need of a tokenizer: ids of special tokens, padding, sizes."""
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "pad_token_type_id": tokenizer.pad_token_type_id,
        "padding_side": tokenizer.padding_side,
        "mask_token_id": tokenizer.mask_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "special_ids": sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id}),
        "special_tokens": tokenizer.num_special_tokens_to_add(pair=False),
        "vocab_size": len(tokenizer),
    }


def read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Return the tokenizer that `read_base` wrote (its own code runs only if `trust_remote_code` was set)."""
    quiet()
    trusted = json.read(folder / "base.json")["trust_remote_code"]
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)


def limit_of(tokenizer: "PreTrainedTokenizerBase", config: "PreTrainedConfig") -> int:
    """The longest row in tokens that both the tokenizer and the model's positions allow."""
    positions = getattr(config, "max_position_embeddings", None)
    return limit(tokenizer.model_max_length, positions, config.model_type, getattr(config, "pad_token_id", None))


def _first_line(error: Exception, folder: Path) -> str:
    """Return the first line of a library's message, with file names in place of paths in `folder`, which is ours."""
    text = str(error).replace(f"{folder}/", "").replace(str(folder), "it").strip()
    return text.splitlines()[0] if text else type(error).__name__
