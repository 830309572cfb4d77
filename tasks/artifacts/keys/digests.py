"""Digests of external files (base weights, data) and copied stores: each file is hashed once, then recognised by its
inode, mtime and size."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.artifacts.backend import sha256_file

if TYPE_CHECKING:
    from tasks.artifacts.store import Store

MEMO_MIN_BYTES = 1 << 20


def digest_of(store: Store, path: Path) -> str:
    """Return the sha256 of a local file, from the store's memo if the file has not changed since.

    Only a local store keeps a memo (paths are this machine's), and only of files that take time to read.
    """
    path = path.resolve()
    status = path.stat()
    if store.local is None or status.st_size < MEMO_MIN_BYTES:
        return sha256_file(path)
    stamp = [status.st_ino, status.st_mtime_ns, status.st_size]
    name = f"memo/{sha256(str(path).encode()).hexdigest()}.json"
    try:
        memo = json.loads(store.backend.read(name))
        if memo["stamp"] == stamp:
            return str(memo["sha256"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        pass  # no memo, or a damaged one: hash the file
    digest = sha256_file(path)
    with suppress(OSError):  # a read-only store
        store.backend.write(name, json.dumps({"stamp": stamp, "sha256": digest}).encode())
    return digest
