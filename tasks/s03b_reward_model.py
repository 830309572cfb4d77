"""Stage 3b, of tasks that reward answers with a trained reward model: pin that model.

In: the files that `rl.reward_model` refers to. Out: its tokenizer, its config, `load.json`, `base.json` (digests of
the files) and, if it is an adapter, `merged.safetensors` with the parameters that the adapter changes. The other
weights are not copied: every run looks up their path on this machine.

A separate stage because training and evaluation depend on these bytes and not on the model's name.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.artifacts.formats import json
from tasks.artifacts.keys.digests import digest_of
from tasks.config import ConfigError, ModelConfig, RlConfig
from tasks.config.json_types import JsonObject
from tasks.evaluation.rewards import reward_function
from tasks.models.bases.base import base_files
from tasks.models.bases.files import INSIDE
from tasks.runtime.build import Build
from tasks.runtime.inputs import Unkeyed
from tasks.runtime.stage import stage

HEAD = {"labels": None, "problem_type": "regression"}
LOADING: JsonObject = {"auto_model": "AutoModelForSequenceClassification", "dtype": "float32"}
FIELD, OTHER = "rl.reward_model", "model.name"


def functions(section: RlConfig) -> JsonObject:
    """Return the code versions of the reward functions, by path, as the loss option `reward_code`.

    Raises:
        ConfigError: there is no such function, or its source cannot be read.
    """
    from tasks.artifacts.keys.code import function_version

    found: JsonObject = {}
    for path in section.reward_funcs or []:
        try:
            found[path] = function_version(reward_function(path))
        except TypeError as error:
            raise ConfigError(f"rl.reward_funcs: {path!r}: {error}") from error
    return {"reward_code": found} if found else {}


def _files(model: Unkeyed, **_: object) -> Mapping[str, Path]:
    try:
        return base_files(ModelConfig(name=model.value))
    except ConfigError as error:
        raise _named(error) from error


@stage(libraries=("torch", "transformers", "tokenizers", "peft"), files=_files)
def reward_model(build: Build, *, model: str) -> Mapping[str, object]:
    """Write what loading the reward model needs.

    Raises:
        ConfigError: no such model, no tokenizer with it, or it has no head that gives one score.
    """
    from tasks.models.bases.tokenizer import read_base
    from tasks.models.create import create
    from tasks.models.load import Loading

    folder = build.view()
    try:
        facts = read_base(folder, build.out, False)
        pad = json.read(build.out / "processor.json")["pad_token_id"]
        made = create(folder, build.out, Loading(**LOADING), HEAD, 0, pad, facts["vocabulary"], True)
    except ConfigError as error:
        raise _named(error) from error
    if made.head is None or made.head.how != "kept":
        raise ConfigError(f"{FIELD}: {model!r} has no trained head that gives one score; train one with task: reward")
    json.write(LOADING, build.out / "load.json")
    counted = [name for name in build.files if name.endswith(".safetensors") or name.startswith(INSIDE)]
    weights = {name: digest_of(build.store, build.files[name]) for name in counted}
    json.write({**facts, "weights": weights}, build.out / "base.json")  # so that what depends on it depends on them
    return {"model_type": facts["model_type"]}


def _named(error: ConfigError) -> ConfigError:
    return ConfigError(str(error).replace(OTHER, FIELD))
