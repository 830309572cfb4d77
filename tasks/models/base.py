"""Where a base model lies: a folder, a file set inside an installed package, or a hub snapshot pinned to a commit."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from tasks.config import ConfigError, ModelConfig
from tasks.config.names import nearest

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
# Files that lie beside a model and say nothing of it: they must not change its digest.
IGNORED = frozenset(
    {
        "modules.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "data_config.json",
        "finetune.json",
        "inference.json",
        "metrics.json",
        "trainer_state.json",
        "training_plan.json",
    }
)


def base_files(model: ModelConfig) -> dict[str, Path]:
    """Return the files of a base model by name: config, tokenizer and safetensors.

    Raises:
        ConfigError: there is no such model, or it has no config or no safetensors; names `model.name`.
    """
    folder = _folder(model)
    found = {
        path.name: path
        for pattern in _wanted(model)
        for path in sorted(folder.glob(pattern))
        if path.is_file() and path.name not in IGNORED
    }
    if "config.json" not in found:
        extra = "; it holds an adapter, and its base is what a run starts from" if (
            folder / "adapter_config.json"
        ).exists() else ""  # fmt: skip
        raise ConfigError(f"model.name: {model.name!r} has no config.json ({folder}){extra}")
    if "adapter_config.json" in found and WEIGHTS not in found and INDEX not in found:
        raise ConfigError(f"model.name: {model.name!r} holds an adapter; name the base it was trained on, or merge it")
    if not any(name.endswith(".safetensors") for name in found):
        pickled = next((path.name for path in folder.glob("*.bin")), None)
        why = f" but {pickled}, a pickle, which is never loaded; save it once with safetensors" if pickled else ""
        raise ConfigError(f"model.name: {model.name!r} has no *.safetensors weights{why}")
    shards = _shards(model, found)
    return {name: path for name, path in found.items() if not name.endswith(".safetensors") or name in shards}


def _wanted(model: ModelConfig) -> list[str]:
    return [*WANTED, "*.py"] if model.trust_remote_code else list(WANTED)


def _shards(model: ModelConfig, found: Mapping[str, Path]) -> set[str]:
    """The weights transformers would load; a folder may hold others (an average, another format's)."""
    if WEIGHTS in found:
        return {WEIGHTS}
    if INDEX not in found:
        others = ", ".join(sorted(name for name in found if name.endswith(".safetensors")))
        raise ConfigError(f"model.name: {model.name!r} has neither {WEIGHTS} nor {INDEX}, only {others}")
    try:
        shards = set(json.loads(found[INDEX].read_text())["weight_map"].values())
    except (ValueError, KeyError) as error:
        raise ConfigError(f"model.name: {model.name!r} has a broken {INDEX}; fetch it again") from error
    if missing := shards - set(found):
        raise ConfigError(f"model.name: {model.name!r} lacks {min(missing)}, which {INDEX} names; fetch it again")
    return shards


def public_name(model: ModelConfig) -> str:
    """What a card calls the base: its hub or package name, or its folder's own name; never a path of this machine."""
    path = Path(model.name).expanduser()
    return path.resolve().name if path.is_dir() else model.name


def _folder(model: ModelConfig) -> Path:
    if model.name.startswith("package:"):
        return _in_package(model.name)
    path = Path(model.name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or model.name.startswith((".", "~")) or model.name.count("/") > 1 or path.parent.is_dir():
        siblings = [str(path.parent / entry.name) for entry in path.parent.glob("*/")] if path.parent.is_dir() else []
        guess = nearest(model.name, siblings)
        hint = f"; did you mean {guess!r}?" if guess else ""
        if path.is_absolute() or "/" not in model.name or guess or model.name.startswith((".", "~")):
            raise ConfigError(f"model.name: there is no folder {model.name!r}{hint}")
    return _from_hub(model)


def _in_package(name: str) -> Path:
    distribution, _, inner = name.removeprefix("package:").partition("/")
    try:
        listed = files(distribution) or []
    except PackageNotFoundError as error:
        raise ConfigError(
            f"model.name: the package {distribution!r} is not installed; `pip install {distribution}` "
            "(the quickstart's come with `pip install finetune-flow[demo]`)"
        ) from error
    for file in listed:
        if file.name == "config.json" and str(file.parent) == inner:
            return Path(str(file.locate())).parent
    folders = sorted({str(file.parent) for file in listed if file.name == "config.json"})
    raise ConfigError(f"model.name: {distribution} holds no model at {inner!r}; it has models at {folders}")


def _from_hub(model: ModelConfig) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    token = os.environ.get(model.token_secret) if model.token_secret else None
    for offline in (True, False):
        try:
            fetched = snapshot_download(
                model.name,
                revision=model.revision,
                token=token,
                allow_patterns=_wanted(model),
                local_files_only=offline,
            )
            # Somebody may have fetched only this model's tokenizer: what is cached is not always all of it.
            if not offline or any(Path(fetched, name).exists() for name in (WEIGHTS, INDEX)):
                return Path(fetched)
        except HFValidationError as error:
            raise ConfigError(f"model.name: {model.name!r} is neither a folder nor a hub name") from error
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            if not offline:
                reason = str(error).strip().splitlines()[0]
                raise ConfigError(
                    f"model.name: {model.name!r} is no folder here and could not be fetched from the hub ({reason})"
                ) from error
    raise AssertionError
