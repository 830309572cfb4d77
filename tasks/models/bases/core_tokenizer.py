"""Read a base's tokenizer without torch: only its Rust core, if `tokenizer.json` defines it completely.

transformers imports torch, some 300 MB that checking data does not need. It uses the core unchanged for classes that
build nothing themselves, and for BERT's if the file contains the pipeline they would build; for all others the library
must be used.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNBOUNDED = 1_000_000  # transformers writes 1e30 for tokenizers without a limit
OFFSET = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet")
AS_IT_STANDS = ("PreTrainedTokenizerFast", "TokenizersBackend")
OF_BERT = ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast", "ElectraTokenizer",
           "ElectraTokenizerFast")  # fmt: skip
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class CoreTokenizer:
    """The part of a transformers tokenizer that encoders use, from the core and `tokenizer_config.json`."""

    is_fast = True
    model_input_names = ("input_ids",)

    def __init__(self, core: Tokenizer, config: Mapping[str, Any]) -> None:
        self.backend_tokenizer = core
        self.truncation_side = config.get("truncation_side") or (core.truncation or {}).get("direction", "right")
        self.padding_side = config.get("padding_side") or (core.padding or {}).get("direction", "right")
        self.model_max_length = config.get("model_max_length") or UNBOUNDED
        for name in SPECIAL:
            token = _text(config.get(name))
            setattr(self, name, token)
            setattr(self, f"{name}_id", None if token is None else core.token_to_id(token))
        more = [*(config.get("additional_special_tokens") or ()), *(config.get("extra_special_tokens") or ())]
        tokens = {token for token in [getattr(self, name) for name in SPECIAL] + list(map(_text, more)) if token}
        self.all_special_tokens = sorted(tokens)
        self.all_special_ids = [core.token_to_id(token) for token in self.all_special_tokens]
        core.no_padding()
        core.no_truncation()

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return the number that the core adds."""
        return self.backend_tokenizer.num_special_tokens_to_add(pair)


def read_words(folder: Path) -> tuple[CoreTokenizer, int] | None:
    """Return the tokenizer in `folder` and the longest row that it and the model allow; None if it needs the
    library."""
    named = ("tokenizer.json", "tokenizer_config.json", "config.json")
    if not all((folder / name).is_file() for name in named):
        return None
    whole, config, model = (json.loads((folder / name).read_text()) for name in named)
    if not (_is_plain(config) and (config.get("tokenizer_class") in AS_IT_STANDS or _is_bert_pipeline(whole, config))):
        return None
    if not isinstance(positions := model.get("max_position_embeddings"), int):
        return None
    words = CoreTokenizer(Tokenizer.from_file(str(folder / "tokenizer.json")), config)
    added = [_text(token) for token in (config.get("added_tokens_decoder") or {}).values()]
    core = words.backend_tokenizer
    known = [*words.all_special_ids, *(core.token_to_id(token) for token in added)]
    if None in known or core.get_vocab_size() <= len(words.all_special_ids):
        return None
    if config.get("pad_token") is None and config.get("eos_token") is None:
        return None
    return words, limit(words.model_max_length, positions, model.get("model_type", ""), model.get("pad_token_id"))


def limit(tokens: float, positions: int | None, model_type: str, pad: int | None) -> int:
    """Return the longest row in tokens that both the tokenizer and the model's positions allow."""
    positions = positions or UNBOUNDED
    if model_type in OFFSET:
        positions -= (pad or 0) + 1  # their positions start after that of padding
    return int(min(tokens, positions, UNBOUNDED))


def check_tokenizer(tokenizer: "PreTrainedTokenizerBase", task: str, needs: Sequence[str]) -> None:
    """Raise if a tokenizer lacks what a task needs: `fast`, `mask_token`, `eos_token`.

    Raises:
        ConfigError: something is missing.
    """
    for need in needs:
        if need == "fast" and not tokenizer.is_fast:
            written = f"{type(tokenizer).__name__}, written in Python"
            raise ConfigError(f"model.name: {task} needs word boundaries, which its tokenizer ({written}) does not "
                              "provide; use a base with a tokenizer.json")  # fmt: skip
        # rows that are raw texts need no chat template; `tasks.data.chat.template` checks it for conversations
        if need not in ("fast", "chat_template") and getattr(tokenizer, need) is None:
            raise ConfigError(f"model.name: {task} needs a tokenizer with a {need.replace('_', ' ')}, and this base's "
                              "has none; use another base, or another task")  # fmt: skip


def check_room(length: int, special: int) -> None:
    """Raise ConfigError if special tokens alone fill rows of `length` tokens."""
    if length <= special + 1:
        raise ConfigError(f"data.max_length: {length} tokens leave no room for text beside {special} special ones")


def _text(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def _is_plain(config: Mapping[str, Any]) -> bool:
    """Whether a config sets nothing that would change the core."""
    return not any(config.get(name) for name in ("add_bos_token", "add_eos_token", "add_prefix_space", "auto_map",
                                                 "split_special_tokens"))  # fmt: skip


def _is_bert_pipeline(whole: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a file contains the same pipeline that BERT's tokenizer builds from its config."""
    normalizer = whole.get("normalizer") or {}
    wanted = {
        "type": "BertNormalizer", "clean_text": True, "lowercase": config.get("do_lower_case", True),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        "strip_accents": config.get("strip_accents"),
    }  # fmt: skip
    model, before = whole.get("model") or {}, whole.get("pre_tokenizer") or {}
    built = model.get("type") == "WordPiece" and model.get("continuing_subword_prefix") == "##"
    return (config.get("tokenizer_class") in OF_BERT and normalizer == wanted and built
            and before.get("type") == "BertPreTokenizer" and bool(whole.get("post_processor")))  # fmt: skip
