"""Find a base model: a folder, files inside an installed package, or a hub snapshot pinned to a commit; or a folder
with an adapter, and the base it names.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePath

from yaml import YAMLError

from tasks.config import ConfigError, ModelConfig
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import nearest
from tasks.models.bases.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CARD, INDEX, INSIDE, LIVE_FILE, WEIGHTS
from tasks.models.bases.gguf import SUFFIX, materialized
from tasks.models.bases.hub import snapshot

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
TOKENIZERS = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
              "*.tiktoken", "*.jinja")  # fmt: skip
INHERITED = ("language", "license", "license_name", "license_link")  # fields of a model card
# Files in a model's folder that are not part of it: they must not change its digest.
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
        "all_results.json",
        "train_results.json",
        "eval_results.json",
        "test_results.json",
    }
)


def base_files(model: ModelConfig) -> dict[str, Path]:
    """Return the files of a base model by name: config, tokenizer and safetensors; for an adapter's folder also those
    of the base it names, with the adapter itself under `adapter/`.

    Raises:
        ConfigError: no such model, or it has no config or no safetensors.
    """
    folder = _folder(model)
    if is_adapter(folder):
        return _with_adapter(model, folder)
    found = _files_in(folder, _wanted(model))
    if "config.json" not in found:
        raise ConfigError(f"model.name: {model.name!r} has no config.json ({folder})")
    if ADAPTER_CONFIG in found:
        raise ConfigError(f"model.name: {model.name!r} contains a model and an adapter; move one of them elsewhere")
    if not any(name.endswith(".safetensors") for name in found):
        raise ConfigError(f"model.name: {model.name!r} has no *.safetensors weights{_pickle_hint(folder)}")
    shards = _shards(model, found)
    return {name: path for name, path in found.items() if not name.endswith(".safetensors") or name in shards}


def is_adapter(folder: Path) -> bool:
    """Whether a folder contains an adapter, and no model."""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def _with_adapter(model: ModelConfig, folder: Path) -> dict[str, Path]:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ConfigError(f"model.name: {model.name!r} has no {ADAPTER_WEIGHTS}{_pickle_hint(folder)}")
    files = _with_named_base(model, folder, base_files)
    if any(each.startswith(INSIDE) for each in files):
        raise _nested(model)
    return {**files, **{INSIDE + each: folder / each for each in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}}


def _with_named_base(
    model: ModelConfig, folder: Path, files_of: Callable[[ModelConfig], dict[str, Path]]
) -> dict[str, Path]:
    """Return the files of the base that an adapter names; files in the adapter's folder take precedence: a config with
    its labels, its tokenizer."""
    config = _adapter_config(folder)
    if not (name := config.get("base_model_name_or_path")):
        raise ConfigError(f"model.name: {model.name!r} is an adapter whose {ADAPTER_CONFIG} names no base; set "
                          "base_model_name_or_path there")  # fmt: skip
    if name == model.name or is_adapter(Path(name).expanduser()):
        raise _nested(model)
    try:
        base = files_of(model.model_copy(update={"name": name, "revision": config.get("revision")}))
    except ConfigError as error:
        why = str(error).removeprefix("model.name: ")
        raise ConfigError(f"model.name: {model.name!r} is an adapter to {name!r}, which cannot be used: {why}; "
                          f"put it there, or correct the path in {ADAPTER_CONFIG}") from error  # fmt: skip
    own = _files_in(folder, _wanted(model, weights=False))
    del own[ADAPTER_CONFIG]
    if "tokenizer_config.json" in own:  # all files of a tokenizer come from one folder
        base = {each: path for each, path in base.items() if not any(map(PurePath(each).match, TOKENIZERS))}
    return {**base, **own}


def _nested(model: ModelConfig) -> ConfigError:
    return ConfigError(f"model.name: {model.name!r} is an adapter to an adapter; merge the inner one first "
                       "(export.merge: true, or peft's merge_and_unload)")  # fmt: skip


def _adapter_config(folder: Path) -> JsonObject:
    path = folder / ADAPTER_CONFIG
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"model.name: {path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"model.name: {path} contains {found!r:.40}, not the JSON object that peft writes")
    for field, kinds in {"peft_type": str, "base_model_name_or_path": str | None, "revision": str | None}.items():
        if not isinstance(found.get(field), kinds):
            raise ConfigError(f"model.name: {path}: {field} is {found.get(field)!r:.40}, not a string")
    return found


def _files_in(folder: Path, patterns: list[str]) -> dict[str, Path]:
    return {
        path.name: path
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file() and path.name not in IGNORED
    }


def _pickle_hint(folder: Path) -> str:
    pickled = next((path.name for path in folder.glob("*.bin") if path.name != "training_args.bin"), None)
    return f" but {pickled}, a pickle, which is never loaded; save it once with safetensors" if pickled else ""


def tokenizer_files(model: ModelConfig) -> dict[str, Path]:
    """Return the files of a base's tokenizer and config by name; weights are not looked up or fetched.

    Raises:
        ConfigError: no such model, or it has no config.
    """
    folder = _folder(model, weights=False)
    if is_adapter(folder):
        return _with_named_base(model, folder, tokenizer_files)
    found = _files_in(folder, _wanted(model, weights=False))
    if "config.json" not in found:
        raise ConfigError(f"model.name: {model.name!r} has no config.json ({folder})")
    return found


def live_class(model: ModelConfig) -> JsonObject:
    """Return the fields of `Loading` for a live base of the caller's; empty for others."""
    path = Path(model.name).expanduser() / LIVE_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def link(files: Mapping[str, Path], folder: Path) -> Path:
    """Link each file into `folder` under its name."""
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(path.resolve())
    return folder


def _wanted(model: ModelConfig, weights: bool = True) -> list[str]:
    wanted = [*WANTED, "*.py"] if model.trust_remote_code else list(WANTED)
    return [pattern for pattern in wanted if weights or "safetensors" not in pattern]


def _shards(model: ModelConfig, found: Mapping[str, Path]) -> set[str]:
    """Return the weights that transformers would load; a folder may contain others (averages, other formats)."""
    if WEIGHTS in found:
        return {WEIGHTS}
    if INDEX not in found:
        others = ", ".join(sorted(name for name in found if name.endswith(".safetensors")))
        raise ConfigError(f"model.name: {model.name!r} has neither {WEIGHTS} nor {INDEX}, only {others}")
    try:
        shards = set(json.loads(found[INDEX].read_text())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"model.name: {model.name!r} has a broken {INDEX}; fetch it again") from error
    if missing := shards - set(found):
        raise ConfigError(f"model.name: {model.name!r} lacks {min(missing)}, which {INDEX} names; fetch it again")
    return shards


def public_name(model: ModelConfig) -> str:
    """Return the base's name for a card: its hub or package name, or a folder's or file's name without its path."""
    path = Path(model.name).expanduser()
    if path.exists():
        return f"{path.resolve().name} (a local {'folder' if path.is_dir() else 'file'})"
    return model.name


def known(model: ModelConfig) -> JsonObject:
    """Return what the base's model card says that holds for a model trained from it: license, language."""
    from huggingface_hub import metadata_load

    with suppress(OSError, ValueError, YAMLError):
        header = metadata_load(_folder(model) / CARD) or {}
        return {name: header[name] for name in INHERITED if isinstance(header.get(name), str | list)}
    return {}


def _folder(model: ModelConfig, weights: bool = True) -> Path:
    if model.name.startswith("package:"):
        return _package_folder(model.name)
    path = Path(model.name).expanduser()
    if path.is_dir():
        return _of_gguf(path)
    if path.suffix == SUFFIX and path.is_file():
        return materialized(path.resolve())
    if path.is_file():
        raise ConfigError(f"model.name: {model.name!r} is a file; give the folder that contains it")
    siblings = [str(path.parent / entry.name) for entry in path.parent.glob("*/")] if path.parent.is_dir() else []
    guess = nearest(str(path), siblings)
    hint = f"; did you mean the folder {guess!r}?" if guess else ""
    # A hub name is owner/name or (the oldest) a name alone; the hub is not queried for what looks like a path.
    is_path = path.is_absolute() or model.name.startswith((".", "~")) or model.name.count("/") > 1
    if is_path or (guess and "/" in model.name):
        raise ConfigError(f"model.name: there is no folder {model.name!r}{hint}")
    return snapshot(model, _wanted(model, weights), weights, hint)


def _of_gguf(folder: Path) -> Path:
    """Return the folder, or, if all it has of a model is one GGUF file, that file's."""
    found = [] if any(folder.glob("*.safetensors")) else [*folder.glob(f"*{SUFFIX}")]
    if len(found) > 1:
        raise ConfigError(f"model.name: {str(folder)!r} has several GGUF files; give one of "
                          f"{', '.join(sorted(path.name for path in found))} with its path")  # fmt: skip
    return materialized(found[0].resolve()) if found else folder


def _package_folder(name: str) -> Path:
    distribution, _, inner = name.removeprefix("package:").partition("/")
    try:
        listed = files(distribution) or []
    except PackageNotFoundError as error:
        raise ConfigError(
            f"model.name: the package {distribution!r} is not installed; `pip install {distribution}` "
            "(the quickstart's come with `pip install finetune-flow[demo]`)"
        ) from error
    for file in listed:
        if file.suffix == SUFFIX and str(file) == inner:
            return materialized(Path(str(file.locate())))
        if file.name == "config.json" and str(file.parent) == inner:
            return Path(str(file.locate())).parent
    folders = sorted({str(file if file.suffix == SUFFIX else file.parent) for file in listed
                      if file.name == "config.json" or file.suffix == SUFFIX})  # fmt: skip
    raise ConfigError(f"model.name: {distribution} has no model at {inner!r}; it has models at {folders}")
