"""Whether the places a run will write to can be written to, and what it goes on from is there: asked before training,
not after it."""

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
    """Refuse an `output_dir`, a store or a checkpoint that cannot be; return what the run would overwrite, if anything.

    Args:
        probe: prove it by making (and removing) a folder; a plan, which writes nothing, only asks for the rights.
        overwrite: whoever asks knows what lies in `output_dir`; so does a config with `export.overwrite`.
        varied: fields that a sweep varies.

    Raises:
        ConfigError: one is, or lies below, a file; or `output_dir` holds what is not to be lost (see `check_output`);
            or there is no checkpoint where `train.resume_from_checkpoint` says.
        MachineError: one cannot be written to.
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
            what = "a link to nothing" if there.is_symlink() and not there.exists() else "a file"
            raise ConfigError(f"{field}: {there} is {what}; name a folder")
        if probe:
            tempfile.TemporaryDirectory(prefix=".finetune-probe-", dir=there).cleanup()
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise MachineError(f"{field}: {folder} cannot be written to ({error.strerror}); name another") from error
