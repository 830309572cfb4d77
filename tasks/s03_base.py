"""Stage 3: a model's name becomes a pinned base.

In: `model.name` and `model.revision`, as the files they stand for. Out: the tokenizer, `config.json`, `base.json`
(which files, by digest; how long a text may be) and `processor.json` (what the collator needs). The weights are not
copied: the artifact says their digests, and where they lie on this machine is found anew in every run. The folder of an
adapter is a base too: the weights of the one it names, and itself.

A stage of its own because everything after it depends on these bytes and nothing else of the model's name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.artifacts.formats import json, weights
from tasks.artifacts.keys.digests import digest_of
from tasks.config import ConfigError, ModelConfig
from tasks.models.bases.base import base_files, public_name
from tasks.models.bases.files import INSIDE
from tasks.models.bases.hub import commit_of
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

__all__ = ["base", "public_name"]


def _files(model: Unkeyed, **_: Any) -> Mapping[str, Path]:
    return base_files(model.value)  # the name is not in the key, the bytes it stands for are


@stage(libraries=("transformers", "tokenizers"), files=_files, run_in_plan=True)
def base(build: Build, *, model: ModelConfig, trust_remote_code: bool) -> Mapping[str, Any]:
    """Write the tokenizer and what is to be known of the base.

    Raises:
        ConfigError: no such model; no tokenizer beside it; weights that are not whole.
    """
    from tasks.models.bases.tokenizer import read_base

    folder = build.view()
    facts = read_base(folder, build.out, trust_remote_code)
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
