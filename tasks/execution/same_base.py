"""Whether two models come from one base, as far as their configs and tokenizers say."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.config import ConfigError

SIZES = ("model_type", "hidden_size", "d_model", "n_embd", "dim", "num_hidden_layers", "n_layer", "n_layers",
         "num_layers", "num_attention_heads", "intermediate_size", "d_ff", "max_position_embeddings")  # fmt: skip


def refuse_other_base(field: str, model: str, theirs: Artifact, ours: Artifact) -> None:
    """Check that an earlier model has the architecture and the tokenizer of the one that is trained, from the artifacts
    of stage 3.

    Args:
        field: that names the earlier model.

    Raises:
        ConfigError: it has others.
    """
    other, own = theirs.json("config.json"), ours.json("config.json")
    odd = next((name for name in SIZES if other.get(name) != own.get(name)), None)
    if odd is not None:
        raise ConfigError(f"{field}: {model!r} has the {odd} {other.get(odd)}, and the model that is trained "
                          f"{own.get(odd)}; both must come from one base")  # fmt: skip
    if _vocabulary(theirs) != _vocabulary(ours):
        raise ConfigError(f"{field}: {model!r} has another tokenizer than the model that is trained; both must come "
                          "from one base")  # fmt: skip


def _vocabulary(base: Artifact) -> Mapping[str, int]:
    """Return the tokens and their ids."""
    from tasks.artifacts.formats import json

    return _of_json(json.read(base.path("tokenizer.json"))) if "tokenizer.json" in base else _read(base)


def _of_json(tokenizer: Mapping[str, Any]) -> Mapping[str, int]:
    added = {each["content"]: each["id"] for each in tokenizer.get("added_tokens", ())}
    vocabulary = tokenizer["model"].get("vocab", {})
    if isinstance(vocabulary, list):  # of unigram models, with scores
        vocabulary = {token: at for at, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **added}


def _read(base: Artifact) -> Mapping[str, int]:
    from tasks.models.bases.tokenizer import read_tokenizer

    return read_tokenizer(base.view()).get_vocab()
