"""Stage 3: resolve a model's name to a pinned base.

In: the files that `model.name` and `model.revision` refer to. Out: the tokenizer, `config.json`, `base.json` (digests
of the files; the maximum length) and `processor.json` (what the collator needs). The weights are not copied: the
artifact records their digests, and every run looks up their path on this machine. The folder of an adapter is a base
too: the weights of the base it names, and its own.

A separate stage because all later stages depend on these bytes and not on the model's name.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.artifacts.formats import json, weights
from tasks.artifacts.keys.digests import digest_of
from tasks.config import ConfigError, ModelConfig
from tasks.models.bases.base import base_files, known, public_name
from tasks.models.bases.chat_template import template_text
from tasks.models.bases.files import INSIDE
from tasks.models.bases.hub import commit_of
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

__all__ = ["base", "known", "public_name", "template_text"]


def _files(model: Unkeyed, **_: object) -> Mapping[str, Path]:
    return base_files(model.value)  # the bytes are in the key, the name is not


@stage(libraries=("transformers", "tokenizers"), files=_files, run_in_plan=True)
def base(
    build: Build, *, model: ModelConfig, trust_remote_code: bool, chat_template: str | None
) -> Mapping[str, object]:
    """Write the tokenizer and facts about the base.

    Args:
        chat_template: text that replaces the tokenizer's own.

    Raises:
        ConfigError: no such model; no tokenizer with it; incomplete weights.
    """
    from tasks.models.bases.tokenizer import read_base

    folder = build.view()
    facts = read_base(folder, build.out, trust_remote_code, chat_template)
    shards = {name: path for name, path in build.files.items() if name.endswith(".safetensors")}
    try:
        headers = {name: weights.header(path).values() for name, path in shards.items()}
    except ValueError as error:
        raise ConfigError(f"model.name: {model.name!r}: {error}; fetch or copy it again") from error
    parameters = sum(tensor.count for name, tensors in headers.items() for tensor in tensors if INSIDE not in name)
    counted = {name: path for name, path in build.files.items() if name in shards or name.startswith(INSIDE)}
    digests = {name: digest_of(build.store, path) for name, path in counted.items()}
    json.write({**facts, "weights": digests, "parameters": parameters}, build.out / "base.json")
    return {
        "model": model.name,
        "commit": commit_of(build.files),
        "model_type": facts["model_type"],
        "parameters": parameters,
    }
