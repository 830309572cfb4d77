"""Digests of files that are not ours (base weights, data): each is read once, then known by its inode and mtime."""

import json
from hashlib import sha256
from pathlib import Path

from tasks.artifacts.backend import sha256_file
from tasks.artifacts.store import Store


def digest_of(store: Store, path: Path) -> str:
    """Return the sha256 of a local file, from the store's memo if the file has not been touched since.

    Only a local store keeps a memo: the memo speaks of this machine's files.
    """
    path = path.resolve()
    if store.local is None:
        return sha256_file(path)
    status = path.stat()
    stamp = [status.st_ino, status.st_mtime_ns, status.st_size]
    name = f"memo/{sha256(str(path).encode()).hexdigest()}.json"
    try:
        memo = json.loads(store.backend.read(name))
        if memo["stamp"] == stamp:
            return str(memo["sha256"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        pass  # no memo, or a torn one: the file itself answers
    digest = sha256_file(path)
    store.backend.write(name, json.dumps({"stamp": stamp, "sha256": digest}).encode())
    return digest
