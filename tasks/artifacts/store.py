"""The artifact store: `blobs/<sha256>`, `records/<stage>/<key>.json`, `runs/<id>.json`, `work/<stage>/<key>/`.

Publishing puts every blob first and the record last, so an artifact is complete or absent whatever dies in between.
A hit is proved: the record parses and answers this very question, and every blob is there with its size and bytes.
"""

import fcntl
import os
import re
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn
from uuid import uuid4

from tasks.artifacts.backend import FsspecBackend, LocalBackend, open_backend, sha256_file
from tasks.artifacts.keys.digests import digest_of
from tasks.artifacts.lease import flock_lease, heartbeat_lease
from tasks.artifacts.record import Member, Record, TornRecord
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.scratch import Scratch
from tasks.config.errors import MachineError

RECORD = re.compile(r"records/(?P<stage>[^/]+)/(?P<key>[^/]+)\.json")


class DamagedBlob(MachineError):
    """A blob was found missing or rotten while it was read. It has been removed: the next lookup is a miss."""

    def __init__(self, blob: str) -> None:
        super().__init__(f"the store's {blob} is damaged; run the same config again, and it is built anew")
        self.blob = blob


@dataclass(frozen=True)
class Miss:
    """Why there is no hit. `category` is MISSING (never built, or its bytes are gone) or DAMAGED."""

    category: Literal["MISSING", "DAMAGED"]
    detail: str


class Store:
    """Artifacts under one fsspec root.

    Args:
        root: a path, an fsspec URL, or `memory` for a store that is gone with this object.
        verify: `full` proves the bytes of local blobs (once for each inode and mtime), `size` only their sizes. Blobs
            of remote roots are proved whenever they are fetched, under either policy.
    """

    def __init__(self, root: str, verify: Literal["size", "full"] = "full") -> None:
        private = root == "memory"
        self.root = f"memory://finetune-{uuid4().hex}" if private else root
        self.verify = verify
        self.backend = open_backend(self.root)
        self.local = self.backend if isinstance(self.backend, LocalBackend) else None
        self._scratch: list[Scratch] = []
        self._proved: set[str] = set()
        self._cleanup = weakref.finalize(self, _forget, self.backend if private else None, self._scratch)

    def close(self) -> None:
        """Remove what this object keeps outside its root (and a `memory` root itself)."""
        self._cleanup()

    # -- reading ----------------------------------------------------------------------------------------------------

    def lookup(self, stage: str, key: str) -> ArtifactRef | Miss:
        """Return the artifact that answers `key`, proved, or why there is none."""
        record = self.record(stage, key)
        if isinstance(record, Miss):
            return record
        for name, member in record.members.items():
            if (miss := self._prove(name, member)) is not None:
                return miss
        return ArtifactRef(stage=stage, key=key, members=record.members, facts=record.facts, run=record.run)

    def record(self, stage: str, key: str) -> Record | Miss:
        """Return the record of `key` without proving its blobs.

        Raises:
            NewerStore: the store was written by a later version of this project.
        """
        try:
            record = Record.unseal(self.backend.read(f"records/{stage}/{key}.json"))
        except FileNotFoundError:
            return Miss("MISSING", "not built yet")
        except (TornRecord, IsADirectoryError):
            return Miss("DAMAGED", "its record is torn")
        if record.key != key or record.stage != stage:
            return Miss("DAMAGED", "its record speaks of another key")
        return record

    def records(self, stage: str) -> Iterator[Record]:
        """All whole records of a stage."""
        for _, _, key in self.recorded(f"records/{stage}"):
            record = self.record(stage, key)
            if isinstance(record, Record):
                yield record

    def recorded(self, folder: str = "records") -> Iterator[tuple[str, str, str]]:
        """(name, stage, key) of all records, damaged or not; other files there are ignored."""
        for name in list(self.backend.names(folder)):
            if match := RECORD.fullmatch(name):
                yield name, match["stage"], match["key"]

    def path(self, member: Member) -> Path:
        """Return a local file with the member's bytes. A blob of a remote root is fetched once and proved; one of a
        local root is proved when it is first asked for (unless `verify` is `size`): whoever asks reads it anyway.

        Raises:
            DamagedBlob: the bytes are not there, or not those.
        """
        blob = f"blobs/{member.sha256}"
        if self.local is not None:
            path = self.local.path(blob)
            whole = self.local.size(blob) == member.size
            if whole and self.verify == "full" and member.sha256 not in self._proved:
                whole = sha256_file(path) == member.sha256
            if not whole:
                self.discard(member)
            self._proved.add(member.sha256)
            return path
        assert isinstance(self.backend, FsspecBackend)
        path = self.scratch() / "blobs" / member.sha256
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{uuid4().hex}")
            try:
                self.backend.get(blob, temporary)
            except FileNotFoundError as error:
                raise DamagedBlob(blob) from error
            if sha256_file(temporary) != member.sha256:
                temporary.unlink()
                self.discard(member)
            temporary.replace(path)
        return path

    def discard(self, member: Member) -> NoReturn:
        """Remove a blob whose bytes are not those that were written, and say so.

        Raises:
            DamagedBlob: always.
        """
        blob = f"blobs/{member.sha256}"
        self.backend.delete(blob)
        raise DamagedBlob(blob)

    def _prove(self, name: str, member: Member) -> Miss | None:
        blob = f"blobs/{member.sha256}"
        size = self.backend.size(blob)
        if size is None:
            return Miss("DAMAGED", f"{name} is gone from the store")
        if size != member.size:
            return Miss("DAMAGED", f"{name} has {size} bytes of {member.size}")
        if self.local is None or self.verify == "size":
            return None
        path = self.local.path(blob)
        if member.stamp != _stamp(path) and digest_of(self, path) != member.sha256:  # a copied store has other inodes
            return Miss("DAMAGED", f"{name} holds other bytes than were written")
        return None

    # -- writing ----------------------------------------------------------------------------------------------------

    def publish(
        self,
        stage: str,
        key: str,
        document: Mapping[str, Any],
        folder: Path,
        *,
        facts: Mapping[str, Any],
        run: str,
        seconds: float,
        adopted: Mapping[str, Member] | None = None,
    ) -> ArtifactRef:
        """Make the files of `folder` (moved away) and the `adopted` members of other artifacts into an artifact."""
        members = dict(adopted or {})
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                members[path.relative_to(folder).as_posix()] = self._put(path)
        members = dict(sorted(members.items()))
        record = Record(
            stage=stage, key=key, document=dict(document), members=members, facts=dict(facts), run=run,
            created=datetime.now(UTC).isoformat(timespec="seconds"), seconds=round(seconds, 3),
        )  # fmt: skip
        self.backend.write(f"records/{stage}/{key}.json", record.seal())
        return ArtifactRef(stage=stage, key=key, members=members, facts=record.facts, run=run)

    def _put(self, path: Path) -> Member:
        digest, size = sha256_file(path), path.stat().st_size
        blob = f"blobs/{digest}"
        self._proved.add(digest)
        there = self.backend.size(blob) == size
        if self.local is None:
            self.backend.put(path, blob)
            return Member(sha256=digest, size=size)
        target = self.local.path(blob)
        if there and sha256_file(target) == digest:
            path.unlink()  # the older records' stamps stay true
        else:
            self.local.put(path, blob)
        return Member(sha256=digest, size=size, stamp=_stamp(target))

    @contextmanager
    def guard(self, exclusive: bool = False) -> Iterator[None]:
        """Keep `gc` out while a run looks up or publishes (shared), or runs out while `gc` sweeps (exclusive).

        Remote roots have no such lock: there only the grace period of `gc` protects what is being published.
        """
        if self.local is None:
            yield
            return
        path = self.local.path("locks/gc")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    # -- places -----------------------------------------------------------------------------------------------------

    def lease(self, stage: str, key: str, waiting: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Hold `key` for building; see `tasks.artifacts.lease`."""
        if self.local is not None:
            return flock_lease(self.local.path(f"locks/{stage}-{key}.lock"), waiting)
        assert isinstance(self.backend, FsspecBackend)
        return heartbeat_lease(self.backend, f"leases/{stage}-{key}", waiting)

    def living(self, run: str) -> AbstractContextManager[None]:
        """Show that `run` is alive for as long as it is (where there are locks): `gc` asks."""
        return flock_lease(self.local.path(f"locks/run-{run}.lock")) if self.local is not None else nullcontext()

    @contextmanager
    def building(self, stage: str, key: str) -> Iterator[Path]:
        """An empty local folder to build in, gone afterwards. Only the holder of the lease may ask for it."""
        folder = self.work(stage, key) / "build"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def work(self, stage: str, key: str) -> Path:
        """The local folder of a build in progress; on a local root it outlives a killed builder."""
        base = self.local.root if self.local is not None else self.scratch()
        return base / "work" / stage / key

    def scratch(self) -> Path:
        """A local folder that is removed with this object: fetched blobs, views of artifacts as model folders."""
        if not self._scratch:
            self._scratch.append(Scratch())
        return self._scratch[0].path


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _forget(private: LocalBackend | FsspecBackend | None, scratch: list[Scratch]) -> None:
    for folder in scratch:
        folder.remove()
    if isinstance(private, FsspecBackend) and private.fs.exists(private.root):
        private.fs.rm(private.root, recursive=True)
