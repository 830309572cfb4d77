"""The artifact store: `blobs/<sha256>`, `records/<stage>/<key>.json`, `runs/<id>.json`, `work/<stage>/<key>/`.

Publishing writes every blob first and the record last, so a crash in between leaves no partial artifact.
A hit is verified: the record parses and has the requested key, and every blob is there with its size and bytes.
"""

import fcntl
import os
import re
import shutil
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn
from uuid import uuid4

from tasks.artifacts.backend import FsspecBackend, LocalBackend, open_backend, sha256_file
from tasks.artifacts.keys.digests import digest_of
from tasks.artifacts.lease import flock_lease, heartbeat_lease
from tasks.artifacts.record import DamagedRecord, Member, Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.scratch import Scratch
from tasks.config.errors import MachineError

RECORD = re.compile(r"records/(?P<stage>[^/]+)/(?P<key>[^/]+)\.json")


class DamagedBlob(MachineError):
    """A blob was missing or corrupt when it was read. It has been removed: the next lookup is a miss."""

    def __init__(self, blob: str) -> None:
        super().__init__(f"the store's {blob} is damaged; run the same config again to rebuild it")
        self.blob = blob


@dataclass(frozen=True)
class Miss:
    """Why there is no hit. `category` is MISSING (never built, or its bytes are gone) or DAMAGED."""

    category: Literal["MISSING", "DAMAGED"]
    detail: str


class Store:
    """Artifacts under one fsspec root.

    Args:
        root: a path, an fsspec URL, or `memory` for a store that is deleted with this object.
        verify: `full` verifies the bytes of local blobs (once for each inode and mtime), `size` only their sizes. Blobs
            of remote roots are verified whenever they are fetched, under either policy.
    """

    def __init__(self, root: str, verify: Literal["size", "full"] = "full") -> None:
        private = root == "memory"
        self.root = f"memory://finetune-{uuid4().hex}" if private else root
        self.verify = verify
        self.backend = open_backend(self.root)
        self.local = self.backend if isinstance(self.backend, LocalBackend) else None
        self._scratch: list[Scratch] = []
        self._verified: set[str] = set()
        self._cleanup = weakref.finalize(self, _forget, self.backend if private else None, self._scratch)

    def close(self) -> None:
        """Remove this object's scratch folder (and a `memory` root)."""
        self._cleanup()

    # -- reading ----------------------------------------------------------------------------------------------------

    def lookup(self, stage: str, key: str) -> ArtifactRef | Miss:
        """Return the verified artifact with this key, or why there is none."""
        record = self.record(stage, key)
        if isinstance(record, Miss):
            return record
        for name, member in record.members.items():
            if (miss := self._verify(name, member)) is not None:
                return miss
        return ArtifactRef(stage=stage, key=key, members=record.members, facts=record.facts, run=record.run)

    def record(self, stage: str, key: str) -> Record | Miss:
        """Return the record of `key` without verifying its blobs.

        Raises:
            NewerStore: the store was written by a later version of this project.
        """
        try:
            record = Record.unseal(self.backend.read(f"records/{stage}/{key}.json"))
        except FileNotFoundError:
            return Miss("MISSING", "not built yet")
        except (DamagedRecord, IsADirectoryError):
            return Miss("DAMAGED", "its record is damaged")
        if record.key != key or record.stage != stage:
            return Miss("DAMAGED", "its record is of another key")
        return record

    def records(self, stage: str) -> Iterator[Record]:
        """Yield all valid records of a stage."""
        for _, _, key in self.list_records(f"records/{stage}"):
            record = self.record(stage, key)
            if isinstance(record, Record):
                yield record

    def list_records(self, folder: str = "records") -> Iterator[tuple[str, str, str]]:
        """Yield (name, stage, key) of all records, damaged or not; other files there are ignored."""
        for name in list(self.backend.names(folder)):
            if match := RECORD.fullmatch(name):
                yield name, match["stage"], match["key"]

    def path(self, member: Member) -> Path:
        """Return a local file with the member's bytes. A blob of a remote root is fetched once and verified; one of a
        local root is verified on first use (unless `verify` is `size`), since the caller reads it anyway.

        Raises:
            DamagedBlob: the blob is missing, or its bytes do not match its digest.
        """
        blob = f"blobs/{member.sha256}"
        if self.local is not None:
            path = self.local.path(blob)
            whole = self.local.size(blob) == member.size
            if whole and self.verify == "full" and member.sha256 not in self._verified:
                whole = sha256_file(path) == member.sha256
            if not whole:
                self.discard(member)
            self._verified.add(member.sha256)
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
        """Remove a blob with bytes that do not match its digest, and raise.

        Raises:
            DamagedBlob: always.
        """
        blob = f"blobs/{member.sha256}"
        self.backend.delete(blob)
        raise DamagedBlob(blob)

    def _verify(self, name: str, member: Member) -> Miss | None:
        blob = f"blobs/{member.sha256}"
        size = self.backend.size(blob)
        if size is None:
            return Miss("DAMAGED", f"{name} is missing in the store")
        if size != member.size:
            return Miss("DAMAGED", f"{name} has {size} of {member.size} bytes")
        if self.local is None or self.verify == "size":
            return None
        path = self.local.path(blob)
        if member.stamp != _stamp(path) and digest_of(self, path) != member.sha256:  # a copied store has other inodes
            return Miss("DAMAGED", f"{name} does not match its digest")
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
        """Publish the files of `folder` (which are moved) and `adopted` members of other artifacts as an artifact."""
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
        self._verified.add(digest)
        there = self.backend.size(blob) == size
        if self.local is None:
            self.backend.put(path, blob)
            return Member(sha256=digest, size=size)
        target = self.local.path(blob)
        if there and sha256_file(target) == digest:
            path.unlink()  # keeps the stamps in older records valid
        else:
            self.local.put(path, blob)
        return Member(sha256=digest, size=size, stamp=_stamp(target))

    @contextmanager
    def gc_lock(self, exclusive: bool = False) -> Generator[None]:
        """Hold the lock between runs that look up or publish (shared) and `gc` that removes (exclusive).

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
        """Hold the right to build `key`; see `tasks.artifacts.lease`."""
        if self.local is not None:
            return flock_lease(self.local.path(f"locks/{stage}-{key}.lock"), waiting)
        assert isinstance(self.backend, FsspecBackend)
        return heartbeat_lease(self.backend, f"leases/{stage}-{key}", waiting)

    def run_lock(self, run: str) -> AbstractContextManager[None]:
        """Hold the lock that tells `gc` that `run` is active; remote roots have none."""
        return flock_lease(self.local.path(f"locks/run-{run}.lock")) if self.local is not None else nullcontext()

    @contextmanager
    def building(self, stage: str, key: str) -> Generator[Path]:
        """Provide an empty local folder to build in, and remove it afterwards. The caller must hold the lease."""
        folder = self.work(stage, key) / "build"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def work(self, stage: str, key: str) -> Path:
        """Return the local folder of a build in progress; on a local root it survives if the builder is killed."""
        base = self.local.root if self.local is not None else self.scratch()
        return base / "work" / stage / key

    def scratch(self) -> Path:
        """Return a local folder that is removed with this object: for fetched blobs and views of artifacts."""
        if not self._scratch:
            self._scratch.append(Scratch())
        return self._scratch[0].path


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _forget(private: LocalBackend | FsspecBackend | None, scratch: list[Scratch]) -> None:
    for folder in scratch:
        folder.remove()
    if isinstance(private, FsspecBackend):
        private.clear()
