"""Verifies a whole store: every record and blob against its digest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tasks.artifacts.backend import sha256_file
from tasks.artifacts.store import DamagedBlob, Miss, Store


@dataclass(frozen=True)
class Damage:
    """A file of the store that is damaged or missing."""

    name: str
    kind: Literal["torn record", "missing blob", "rotten blob"]
    needed_by: str


def scrub(store: Store) -> Iterator[Damage]:
    """Yield all damage, reading every byte. Nothing is changed: a run rebuilds what it finds damaged.

    Stamps are ignored, so that bit rot under an unchanged inode and mtime is found.
    """
    verified: dict[str, bool] = {}
    for name, stage, key in store.list_records():
        record = store.record(stage, key)
        if isinstance(record, Miss):
            yield Damage(name, "torn record", stage)
            continue
        for member in record.members.values():
            blob = f"blobs/{member.sha256}"
            if store.backend.size(blob) is None:
                yield Damage(blob, "missing blob", f"{stage} {record.key[:8]}")
                continue
            if blob not in verified:
                verified[blob] = _is_intact(store, blob, member.sha256)
            if not verified[blob]:
                yield Damage(blob, "rotten blob", f"{stage} {record.key[:8]}")


def _is_intact(store: Store, blob: str, digest: str) -> bool:
    if store.local is not None:
        return sha256_file(store.local.path(blob)) == digest
    target = store.scratch() / "scrub"
    try:
        store.backend.get(blob, target)  # type: ignore[union-attr]
        return sha256_file(target) == digest
    except (FileNotFoundError, DamagedBlob):
        return False
    finally:
        target.unlink(missing_ok=True)
