"""A manifest marks a folder as complete: it is written last and lists the digest of every file.

Checkpoints need it: libraries write them in place, file by file, and the process may die in between. A folder without
a manifest is ignored.
"""

import hashlib
import json
import os
from pathlib import Path

from tasks.artifacts.names import are_files

MANIFEST = "manifest.json"


def commit(folder: Path) -> None:
    """Make every file of `folder` durable, then write its manifest."""
    entries: dict[str, dict[str, str | int]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            entries[path.relative_to(folder).as_posix()] = {"sha256": digest, "size": path.stat().st_size}
    temporary = folder / f"{MANIFEST}.tmp"
    with temporary.open("w") as file:
        json.dump(entries, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)  # noqa: PTH105 — the call the kill tests count
    for place in (folder, folder.parent):
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def is_complete(folder: Path) -> bool:
    """Whether `folder` has a manifest and every file that it lists, with matching digests."""
    try:
        entries = json.loads((folder / MANIFEST).read_bytes())
        if not entries or not are_files(entries):
            return False
        for name, entry in entries.items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return False
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):  # not a manifest
        return False
    return True
