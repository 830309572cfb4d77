"""A publish of three members (Arrow, safetensors, JSON) that dies, or meets a full disk, at a chosen boundary.

A boundary is a call that changes the disk: opening a file for writing, each write to it, fsync, replace, unlink, mkdir.
"""

import errno
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import save_file

from flows.pipeline import pipeline
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config import load
from tasks.config.errors import FinetuneError
from tasks.data.tables.arrow_file import write
from tasks.execution.execute import execute
from tests.kill.scenes import die

STAGE, KEY = "s05_tokenize", "ab" * 32
DOCUMENT = {"stage": STAGE, "config": {"max_length": 8}}


def publish(store: Store) -> ArtifactRef:
    """Build and publish the artifact as a stage does."""
    with store.lease(STAGE, KEY), store.building(STAGE, KEY) as out:
        write(pa.table({"ids": [[1, 2], [3]]}), out / "rows.arrow")
        save_file({"weight": torch.arange(6.0)}, out / "new.safetensors")
        json.write({"rows": 2}, out / "summary.json")
        with store.gc_lock():
            return store.publish(STAGE, KEY, DOCUMENT, out, facts={}, run="test", seconds=0.0)


def boundaries(root: str) -> int:
    """How many boundaries a publish has."""
    counter = Boundaries(lambda _: None)
    with counter:
        publish(Store(root))
    return counter.count


def die_at(root: str, number: int, when: str) -> None:
    """Die at a boundary: `before` it, `after` it or, if it is a write, in the `middle` of its bytes."""
    with Boundaries(lambda _: die(), number, when):
        publish(Store(root))


def full_disk(config: Mapping[str, Any], stage: str, number: int) -> dict[str, Any]:
    """Carry out `config`; from the `number`-th boundary of `stage`'s publish on, its writes find the disk full.

    Returns:
        The error, and the boundaries there were (fewer than `number`: the run was done).
    """
    original = Store.publish
    disk = Boundaries(_no_space, number, "before", lasting=True)

    def guarded(self: Store, name: str, *rest: Any, **named: Any) -> ArtifactRef:
        if name != stage:
            return original(self, name, *rest, **named)
        with disk:
            return original(self, name, *rest, **named)

    Store.publish = guarded  # type: ignore[method-assign]
    try:
        execute(load(config).config, pipeline)
    except FinetuneError as error:
        told = {"kind": type(error).__name__, "exit_code": error.exit_code, "message": str(error)}
        return {"error": told, "count": disk.count}
    return {"error": None, "count": disk.count}


def full_disk_at_run_record(config: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out `config` on a store that takes no run record any more."""
    from tasks.artifacts.backend import LocalBackend

    original = LocalBackend.write

    def refuse(self: LocalBackend, name: str, data: bytes) -> None:
        if name.startswith("runs/"):
            _no_space(name)
        original(self, name, data)

    LocalBackend.write = refuse  # type: ignore[method-assign]
    try:
        execute(load(config).config, pipeline)
    except FinetuneError as error:
        return {"kind": type(error).__name__, "message": str(error)}
    return {}


def _no_space(what: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)


class Boundaries:
    """Counts the boundaries that are crossed while it is entered, and acts at one of them.

    Args:
        act: what happens there. number: at which; 0: at none. when: `before`, `after` or `middle`.
        lasting: act at every one from there on, and count only what takes space (a full disk).
    """

    def __init__(self, act: Callable[[str], Any], number: int = 0, when: str = "before", lasting: bool = False) -> None:
        self.act, self.number, self.when, self.lasting = act, number, when, lasting
        self.count = 0
        self._saved: list[tuple[Any, str, Any]] = []

    def cross(self, call: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Cross one boundary."""
        self.count += 1
        here = self.count == self.number or (self.lasting and 0 < self.number <= self.count)
        if here and self.when == "before":
            self.act("before")
        if here and self.when == "middle" and half:
            half()
            self.act("middle")
        try:
            return call()
        finally:  # mkdir may find the folder there, and that is a boundary too
            if here and self.when == "after":
                self.act("after")

    def __enter__(self) -> "Boundaries":
        names = ["replace", "fsync", "mkdir"] + ([] if self.lasting else ["unlink", "rmdir"])
        for name in names:
            self._patch(os, name, self._wrapped(getattr(os, name)))
        self._patch(io, "open", self._opening(io.open))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in reversed(self._saved):
            setattr(owner, name, original)

    def _patch(self, owner: Any, name: str, new: Any) -> None:
        self._saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *inputs, **named: self.cross(lambda: original(*inputs, **named))

    def _opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if not set(mode) & set("wxa"):
                return original(path, mode, *rest, **named)
            return _Writing(self.cross(lambda: original(path, mode, *rest, **named)), self)

        return opened


class _Writing:
    """A file whose writes are boundaries."""

    def __init__(self, file: Any, boundaries: Boundaries) -> None:
        self._file, self._boundaries = file, boundaries

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        return self._boundaries.cross(lambda: self._file.write(data), half)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def places(root: str) -> list[str]:
    """What a dead publish may leave and no reader may see: half files and build folders."""
    return [path.name for path in Path(root).rglob("*") if path.suffix == ".tmp" or path.name == "build"]
