"""Checks before a run that its output folder and store are writable, and that the checkpoint to resume from exists."""

import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from tasks.artifacts.backend import LocalBackend
from tasks.artifacts.store import Store
from tasks.config import ConfigError, RunConfig
from tasks.config.errors import MachineError
from tasks.results.output_dir import check_output
from tasks.runtime.resuming import checkpoint_files


def check_paths(
    config: RunConfig, store: Store, probe: bool, overwrite: bool = False, varied: Collection[str] = ()
) -> str | None:
    """Check `output_dir`, store and checkpoint; return what the run would overwrite, if anything.

    Args:
        probe: test by creating (and removing) a folder; a plan, which writes nothing, only checks permissions.
        overwrite: whether files in `output_dir` may be replaced; implied by `export.overwrite`.
        varied: fields that a sweep varies.

    Raises:
        ConfigError: a folder is a file or below one; `output_dir` has files that must not be lost (see
            `check_output`); or `train.resume_from_checkpoint` has no checkpoint.
        MachineError: a folder is not writable.
    """
    if isinstance(store.backend, LocalBackend):
        _check("store.root", store.backend.root, probe)
    checkpoint_files(config.train.resume_from_checkpoint, store)
    if config.output_dir is None:
        return None
    found = check_output(config, store, overwrite or config.export.overwrite, varied)
    _check("output_dir", Path(config.output_dir).expanduser().absolute(), probe)
    return found


def _check(field: str, folder: Path, probe: bool) -> None:
    try:
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not there.is_dir():
            what = "a broken symbolic link" if there.is_symlink() and not there.exists() else "a file"
            raise ConfigError(f"{field}: {there} is {what}; choose a folder")
        if probe:
            tempfile.TemporaryDirectory(prefix=".finetune-probe-", dir=there).cleanup()
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise MachineError(
            f"{field}: {folder} cannot be written to ({error.strerror}); choose another folder"
        ) from error
