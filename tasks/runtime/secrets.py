"""Secrets of a run: environment variables of its process while it runs, hidden in all its messages and logs."""

# pyright: reportMissingTypeStubs=false
# (fsspec has no types)

import os
import re
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from tasks.config.errors import ConfigError, FinetuneError, MachineError
from tasks.config.sections.secrets import HIDDEN, SECRET_NAME, without_credentials
from tasks.runtime.environment import environment

FOLDERS = ("PWD", "OLDPWD")  # of the shell, not passwords
SHORTEST = 8  # characters; shorter values are found in ordinary text too
_lent: set[str] = set()


@contextmanager
def secrets_in_environment(secrets: Mapping[str, str]) -> Generator[None]:
    """Set each environment variable to the value of its Prefect Secret block; restore them afterwards.

    Raises:
        ConfigError: no such block. MachineError: the API does not answer.
    """
    if not secrets:
        yield
        return
    values = {variable: _read(variable, block) for variable, block in secrets.items()}
    _lent.update(values.values())
    try:
        with environment(values):
            _forget_filesystems()
            yield
    finally:
        _forget_filesystems()


def redact(text: str) -> str:
    """Return `text` without the secrets this process knows, and without passwords and tokens in URLs."""
    known = {value for name, value in os.environ.items() if _is_secret(name)} | _lent
    for value in sorted((value for value in known if len(value) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return without_credentials(text)


@contextmanager
def redacting_errors() -> Generator[None]:
    """Reraise an error whose text or cause contains a secret without the secret and the cause."""
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        if redact(text) == text:
            raise
        kind = type(error) if isinstance(error, FinetuneError) else MachineError
        message = str(error) if kind is type(error) else f"{type(error).__name__}: {error}"
        raise kind(redact(message)) from None


def _is_secret(variable: str) -> bool:
    """Whether the value of an environment variable is hidden in logs, judging by its name."""
    return variable not in FOLDERS and re.fullmatch(SECRET_NAME, variable) is not None


def _read(variable: str, block: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(block, "secret", include_secrets=True)
        except ObjectNotFound:
            raise ConfigError(
                f"secrets.{variable}: {client.api_url} has no Secret block {block!r}; create it there (Blocks, +, "
                f'Secret), or in Python: `Secret(value=…).save("{block}")` of prefect.blocks.system'
            ) from None
    value = found.data.get("value")
    if not isinstance(value, str):
        raise ConfigError(
            f"secrets.{variable}: the Secret block {block!r} is not text; an environment variable must be text"
        )
    return value


def _forget_filesystems() -> None:
    """fsspec caches filesystem instances together with the credentials they were opened with."""
    if "fsspec" in sys.modules:
        import fsspec

        for kind in set(fsspec.registry.values()):
            kind.clear_instance_cache()  # pyright: ignore[reportUnknownMemberType]
