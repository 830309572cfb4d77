"""Fetch a model of the Hugging Face hub to a folder of the hub's own cache: complete, and of one commit."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.config import ConfigError, ModelConfig
from tasks.models.bases.files import ADAPTER_WEIGHTS, CARD, INDEX, INSIDE, WEIGHTS

SLOW = ("vocab*", "*.model", "*.tiktoken")  # files of tokenizers without a tokenizer.json


def snapshot(model: ModelConfig, patterns: list[str], weights: bool, hint: str = "") -> Path:
    """Return the folder of a hub model's files that match `patterns`: from the cache if complete, else fetched. An
    interrupted download is resumed.

    Args:
        weights: whether weights are wanted too.
        hint: `; did you mean …`, for a name that is not on the hub.

    Raises:
        ConfigError: it cannot be fetched; the message says whether name, access or connection is the cause.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

    wanted: dict[str, Any] = {"revision": model.revision, "allow_patterns": [*patterns, CARD]}
    try:
        with suppress(LocalEntryNotFoundError):
            cached = Path(snapshot_download(model.name, local_files_only=True, **wanted))
            if _is_whole(cached, weights):
                return cached
        if constants.HF_HUB_OFFLINE:
            raise ConfigError(f"model.name: {model.name!r} is not a folder here and not (completely) in the hub's "
                              f"cache; the hub was not queried, because HF_HUB_OFFLINE is set{hint}")  # fmt: skip
        return Path(snapshot_download(model.name, token=_token(model), **wanted))
    except HFValidationError as error:
        raise ConfigError(f"model.name: {model.name!r} is not a folder here, and not a valid hub name"
                          f"{hint}") from error  # fmt: skip
    except (HTTPError, OSError) as error:
        raise _refused(model, error, hint) from error


def commit_of(files: Mapping[str, Path]) -> str | None:
    """Return the hub commit of a base's files (for an adapter's folder, the adapter's); None if they are not from the
    hub."""
    own = {name: path for name, path in files.items() if name.startswith(INSIDE)} or files
    folders = (path.parent for path in own.values())
    return next((folder.name for folder in folders if folder.parent.name == "snapshots"), None)


def _is_whole(folder: Path, weights: bool) -> bool:
    """Whether a cached folder has a complete model: other tools may have fetched parts of it."""
    if not weights:
        from huggingface_hub import constants

        # if online, the files of a slow tokenizer alone may be from an interrupted download
        names = ["tokenizer.json", "tokenizer_config.json", *(SLOW if constants.HF_HUB_OFFLINE else ())]
        return any(True for name in names for _ in folder.glob(name))
    if not (folder / INDEX).exists():
        return any((folder / name).exists() for name in (WEIGHTS, ADAPTER_WEIGHTS))
    with suppress(ValueError, KeyError, AttributeError):
        return all(
            (folder / shard).exists() for shard in json.loads((folder / INDEX).read_text())["weight_map"].values()
        )
    return False


def _token(model: ModelConfig) -> str | None:
    """Return the configured token; None leaves the choice to the library (HF_TOKEN, `hf auth login`)."""
    if model.token_secret is None:
        return None
    if not (token := os.environ.get(model.token_secret)):
        raise ConfigError(f"model.token_secret: the environment variable {model.token_secret!r} is not set")
    return token


def _refused(model: ModelConfig, error: Exception, hint: str) -> ConfigError:
    from huggingface_hub import constants, errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    name, token = repr(model.name), model.token_secret
    access = f"the token in {token} cannot read it" if token else "a private one needs model.token_secret"
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.RevisionNotFoundError):
        return ConfigError(f"model.revision: the hub's {name} has no revision {model.revision!r}")
    if isinstance(cause, errors.GatedRepoError):
        return ConfigError(f"model.name: the hub's {name} is gated: accept its terms at {constants.ENDPOINT}/"
                           f"{model.name}, and set a token that can read it (model.token_secret)")  # fmt: skip
    if isinstance(cause, errors.RepositoryNotFoundError):
        return ConfigError(f"model.name: {name} is neither a folder here nor a hub model{hint} ({access})")
    if status in (401, 403):
        return ConfigError(f"model.name: the hub refuses {name} ({status}): {access}")
    if status is not None:
        return ConfigError(f"model.name: the hub answers {status} for {name}; run it again later: what was "
                           "fetched is kept")  # fmt: skip
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return ConfigError(f"model.name: {name} is not a folder here, and could not be fetched from the hub at "
                       f"{constants.ENDPOINT} ({type(cause).__name__}: {reason}){hint}")  # fmt: skip
