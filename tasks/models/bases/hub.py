"""A model of the Hugging Face hub, as a folder of the hub's own cache: whole, and of one commit."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.config import ConfigError, ModelConfig
from tasks.models.bases.files import ADAPTER_WEIGHTS, INDEX, INSIDE, WEIGHTS

SLOW = ("vocab*", "*.model", "*.tiktoken")  # what tokenizers without a tokenizer.json are made of


def snapshot(model: ModelConfig, patterns: list[str], weights: bool, hint: str = "") -> Path:
    """The folder of a hub model's files that match `patterns`: from the cache if all are there, else fetched. What a
    download that was cut has left is gone on with.

    Args:
        weights: whether weights are among what is wanted.
        hint: `; did you mean …`, for a name that the hub does not know.

    Raises:
        ConfigError: it cannot be had; the message tells whether the name, the access or the connection is at fault.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

    wanted: dict[str, Any] = {"revision": model.revision, "allow_patterns": patterns}
    try:
        with suppress(LocalEntryNotFoundError):
            cached = Path(snapshot_download(model.name, local_files_only=True, **wanted))
            if _is_whole(cached, weights):
                return cached
        if constants.HF_HUB_OFFLINE:
            raise ConfigError(f"model.name: {model.name!r} is no folder here and not (or not all) in the hub's cache; "
                              f"the hub was not asked, because HF_HUB_OFFLINE is set{hint}")  # fmt: skip
        return Path(snapshot_download(model.name, token=_token(model), **wanted))
    except HFValidationError as error:
        raise ConfigError(f"model.name: {model.name!r} is no folder here, and no name a hub model can have"
                          f"{hint}") from error  # fmt: skip
    except (HTTPError, OSError) as error:
        raise _refused(model, error, hint) from error


def commit_of(files: Mapping[str, Path]) -> str | None:
    """The commit of the hub that a base's files are of (of an adapter's folder the adapter's); None where they lie
    elsewhere."""
    own = {name: path for name, path in files.items() if name.startswith(INSIDE)} or files
    folders = (path.parent for path in own.values())
    return next((folder.name for folder in folders if folder.parent.name == "snapshots"), None)


def _is_whole(folder: Path, weights: bool) -> bool:
    """Whether a cached folder has what a model consists of: other tools may have fetched parts of it."""
    if not weights:
        from huggingface_hub import constants

        # with a connection, the files of a slow tokenizer alone may be the rest of a download that was cut
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
    """The token that the config names; None leaves the choice to the library (HF_TOKEN, `hf auth login`)."""
    if model.token_secret is None:
        return None
    if not (token := os.environ.get(model.token_secret)):
        raise ConfigError(f"model.token_secret: the environment has no variable {model.token_secret!r}")
    return token


def _refused(model: ModelConfig, error: Exception, hint: str) -> ConfigError:
    from huggingface_hub import constants, errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    name, token = repr(model.name), model.token_secret
    access = f"the token in {token} may not read it" if token else "a private one needs model.token_secret"
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(cause, errors.RevisionNotFoundError):
        return ConfigError(f"model.revision: the hub's {name} has no revision {model.revision!r}")
    if isinstance(cause, errors.GatedRepoError):
        return ConfigError(f"model.name: the hub's {name} is gated: accept its terms at {constants.ENDPOINT}/"
                           f"{model.name}, and give a token that may read it (model.token_secret)")  # fmt: skip
    if isinstance(cause, errors.RepositoryNotFoundError):
        return ConfigError(f"model.name: {name} is neither a folder here nor a model of the hub{hint} ({access})")
    if status in (401, 403):
        return ConfigError(f"model.name: the hub refuses {name} ({status}): {access}")
    if status is not None:
        return ConfigError(f"model.name: the hub answers {status} for {name}; run it again in a while: what was "
                           "fetched is kept")  # fmt: skip
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return ConfigError(f"model.name: {name} is no folder here, and could not be fetched from the hub at "
                       f"{constants.ENDPOINT} ({type(cause).__name__}: {reason}){hint}")  # fmt: skip
