"""Temporary folders that are removed when their process ends; those of killed processes are removed by the next one.

The temporary directory is shared with other programs, possibly in other containers. So a folder is removed only if its
marker contains its name, and no running process holds the kernel's lock on the marker. Process ids would not do: they
are reused, and another container has its own.
"""

import fcntl
import os
import shutil
import tempfile
import weakref
from pathlib import Path

PREFIX = "finetune-"
MARKER = ".finetune-scratch"


class Scratch:
    """A temporary folder (`path`) of this process, until `remove`, the end of a `with`, or garbage collection."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        unmarked = self.path / f"{MARKER}.tmp"
        lock = os.open(unmarked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        os.write(lock, os.fsencode(self.path.name))
        fcntl.flock(lock, fcntl.LOCK_EX)
        unmarked.rename(self.path / MARKER)  # locked before it gets the name that `sweep` looks for
        self.remove = weakref.finalize(self, _remove, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def sweep() -> None:
    """Remove the scratch folders of killed processes; everything else in the temporary directory stays."""
    for marker in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{MARKER}"):
        try:
            lock = os.open(marker, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # removed meanwhile, or another program's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.read(lock, 4096) == os.fsencode(marker.parent.name):
                shutil.rmtree(marker.parent, ignore_errors=True)
        except OSError:  # locked by a running process
            pass
        finally:
            os.close(lock)
