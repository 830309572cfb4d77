"""Live models that were given as a base, kept as folders named by their content, and removed when no run needs them."""

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
    """Where the folders are."""
    return own_cache() / "live"


def keep_live(write: Callable[[Path], None]) -> Path:
    """Return the folder with what `write` writes: the same bytes are the same folder, whoever writes them at once."""
    root().mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=root(), prefix="."))
    try:
        write(scratch)
        target = root() / _digest(scratch)[:16]
        try:
            scratch.rename(target)  # onto a folder that holds something it fails: another process was first
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
    """The folders that none of the last `keep_runs` runs nor any running one has as its base, and older than
    `grace_hours`; adapters trained on others would lose their base."""
    if not root().is_dir():
        return []
    known = runs(store)
    kept = [*known[:keep_runs], *(each for each in known if each.get("state") == "running")]
    needed = json.dumps([(each.get("config") or {}).get("model") for each in kept])
    oldest = time.time() - grace_hours * 3600
    return [path for path in sorted(root().iterdir()) if path.stat().st_mtime < oldest and str(path) not in needed]
