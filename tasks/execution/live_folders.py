"""Stores models that were given as objects in folders named by their content; gc removes unused ones."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tasks.artifacts.store import Store
from tasks.data.sources.locate import own_cache
from tasks.runtime.runs import runs


def root() -> Path:
    """Return the parent of the folders."""
    return own_cache() / "live"


def keep_live(write: Callable[[Path], None]) -> Path:
    """Return a folder with what `write` writes, named by its digest, safely with concurrent writers."""
    root().mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root(), prefix="."))
    try:
        write(scratch)
        target = root() / _digest(scratch)[:16]
        try:
            scratch.rename(target)  # fails if the folder exists: another process was first
        except OSError:
            if not target.is_dir():
                raise
            os.utime(target)
        return target
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def unused(store: Store, keep_runs: int, grace_hours: float) -> list[Path]:
    """Return the folders older than `grace_hours` that are not base or teacher of the last `keep_runs` runs or
    a running one; without the others, adapters would lose their base."""
    if not root().is_dir():
        return []
    known = runs(store)
    kept = [*known[:keep_runs], *(each for each in known if each.get("state") == "running")]
    configs = [each.get("config") or {} for each in kept]
    needed = json.dumps([(each.get("model"), each.get("methods")) for each in configs])
    oldest = time.time() - grace_hours * 3600
    return [path for path in sorted(root().iterdir()) if path.stat().st_mtime < oldest and str(path) not in needed]
