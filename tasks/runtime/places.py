"""Whether the places a run will write to can be written to: asked before training, not after it."""

import os
import tempfile
from pathlib import Path

from tasks.artifacts.backend import LocalBackend
from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig
from tasks.config.errors import MachineError


def check_places(config: RunConfig, store: Store, probe: bool) -> None:
    """Refuse an `output_dir` or a store that cannot be.

    Args:
        probe: prove it by making (and removing) a folder; a plan, which writes nothing, only asks for the rights.

    Raises:
        ConfigError: one is, or lies below, a file; or `output_dir` is the base model's own folder.
        MachineError: one cannot be written to.
    """
    if isinstance(store.backend, LocalBackend):
        _check("store.root", store.backend.root, probe)
    if config.output_dir is None:
        return
    folder = Path(config.output_dir).expanduser().absolute()
    base = Path(config.model.name).expanduser()
    if folder.exists() and base.exists() and folder.samefile(base):
        raise ConfigError(f"output_dir: {config.output_dir!r} is the folder of model.name, whose weights would be "
                          "overwritten; name another")  # fmt: skip
    _check("output_dir", folder, probe)


def _check(field: str, folder: Path, probe: bool) -> None:
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ConfigError(f"{field}: {there} is a file; name a folder")
        if probe:
            tempfile.TemporaryDirectory(prefix=".finetune-probe-", dir=there).cleanup()
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise MachineError(f"{field}: {folder} cannot be written to ({error.strerror}); name another") from error
