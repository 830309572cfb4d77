"""Storage backends: files under one root, on the local disk or on any file system that fsspec supports.

The local disk has its own implementation because only there can a write be made durable (fsync) and atomic (rename),
a file be memory-mapped in place, and a blob be verified by its inode instead of its bytes.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# (fsspec has no types)
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tasks.config.errors import MACHINE_ERRORS, MISTAKES, FinetuneError, MachineError


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Make a file's bytes, or the renames within a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def walk(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted. Files that other processes remove meanwhile are no error."""
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)


class Backend(Protocol):
    """The operations that the store needs. Names are relative, with `/` between parts."""

    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes) -> None: ...
    def put(self, source: Path, name: str) -> None: ...
    def size(self, name: str) -> int | None: ...
    def names(self, folder: str) -> Iterator[str]: ...
    def delete(self, name: str) -> None: ...
    def age(self, name: str) -> float: ...


class LocalBackend:
    """A local folder. `put` moves its source, which is on the same disk; a killed process leaves only `*.tmp` files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _replace(temporary, target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        fsync(target.parent)

    def put(self, source: Path, name: str) -> None:
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        fsync(source)
        _replace(source, target)
        fsync(target.parent)

    def size(self, name: str) -> int | None:
        """Bytes of the file; None if there is none."""
        try:
            status = self.path(name).stat()
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def names(self, folder: str) -> Iterator[str]:
        for path in walk(self.path(folder)):
            if path.suffix != ".tmp":
                yield path.relative_to(self.root).as_posix()

    def delete(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)

    def age(self, name: str) -> float:
        """Seconds since the file was written."""
        return max(0.0, time.time() - self.path(name).stat().st_mtime)


def _replace(source: Path, target: Path) -> None:
    """Move a file to its place in the store, replacing a folder of that name: it is not one of the store's."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)  # noqa: PTH105 — the call the kill tests count


class FsspecBackend:
    """Any other root (`memory://`, `s3://`, …). One object is written by one call, which object stores make atomic."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        self.fs, self.root = fs, root.rstrip("/")

    def _full(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def _translated_errors(self, writing: bool = False) -> Generator[None]:
        """Turn errors of the service into a MachineError that names the store: each client has its own errors, which
        are not OSErrors or have no useful errno. FileNotFoundError passes through, except when writing.
        """
        try:
            yield
        except (FinetuneError, *MISTAKES):
            raise
        except Exception as error:
            absent = isinstance(error, FileNotFoundError) and not writing
            if absent or (isinstance(error, OSError) and error.errno in MACHINE_ERRORS):
                raise
            root = self.fs.unstrip_protocol(self.root)
            raise MachineError(f"the store at {root} cannot be used: {type(error).__name__}: {error}") from error

    def read(self, name: str) -> bytes:
        with self._translated_errors():
            return self.fs.cat_file(self._full(name))  # type: ignore[no-any-return]

    def write(self, name: str, data: bytes) -> None:
        with self._translated_errors(writing=True):
            self.fs.makedirs(self._full(name).rsplit("/", 1)[0], exist_ok=True)
            self.fs.pipe_file(self._full(name), data)

    def put(self, source: Path, name: str) -> None:
        self.copy(source, name)
        source.unlink()

    def copy(self, source: Path, name: str) -> None:
        """Upload a local file as an object, without reading it into memory as a whole; the file stays."""
        with self._translated_errors(writing=True):
            self.fs.makedirs(self._full(name).rsplit("/", 1)[0], exist_ok=True)
            self.fs.put_file(str(source), self._full(name))

    def get(self, name: str, target: Path) -> None:
        """Download an object to a local file."""
        with self._translated_errors():
            self.fs.get_file(self._full(name), str(target))

    def size(self, name: str) -> int | None:
        try:
            with self._translated_errors():
                self.fs.invalidate_cache()
                found = self.fs.info(self._full(name))
                return None if found["type"] == "directory" else int(found["size"])
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> Iterator[str]:
        prefix = f"{self.root}/"
        try:
            with self._translated_errors():
                self.fs.invalidate_cache()
                found = self.fs.find(self._full(folder))
        except FileNotFoundError:
            return
        for path in sorted(found):
            yield path.removeprefix(prefix)

    def delete(self, name: str) -> None:
        with self._translated_errors():
            if self.fs.exists(self._full(name)):
                self.fs.rm_file(self._full(name))

    def clear(self) -> None:
        """Remove the root and all that is in it."""
        if self.fs.exists(self.root):
            self.fs.rm(self.root, recursive=True)

    def age(self, name: str) -> float:
        """Seconds since the object was written, by this machine's clock."""
        with self._translated_errors():
            return (datetime.now(UTC) - self.fs.modified(self._full(name)).astimezone(UTC)).total_seconds()


def open_backend(root: str) -> LocalBackend | FsspecBackend:
    """Return the backend for a root: a path, `file://…`, or any fsspec URL."""
    fs, path = fsspec.core.url_to_fs(root)
    if isinstance(fs, LocalFileSystem):
        return LocalBackend(Path(path))
    return FsspecBackend(fs, str(path))
