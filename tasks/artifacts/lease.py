"""Single flight: of several processes that need one key, one builds it and the others wait for its record.

On the local disk the kernel keeps the lock and frees it when its holder dies, however it dies. Remote stores use
heartbeats: each contender writes one object with a name that sorts by arrival, and rewrites it while it runs; the first
one that is still fresh holds the lease. Two holders at once (a paused process, a slow store) are harmless: blobs are
named by their digests and a record is one write, so at worst work is done twice.
"""

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tasks.artifacts.backend import FsspecBackend

POLL = 0.1
TTL = 30.0


@contextmanager
def flock_lease(path: Path, waiting: Callable[[], None] | None = None) -> Generator[None]:
    """Hold the kernel's lock on `path` (created if absent); `waiting` is called once if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        _wait(descriptor, waiting)
        if _same_file(descriptor, path):
            break
        os.close(descriptor)  # removed by gc while we waited: lock the new file
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claim(path: Path) -> Generator[bool]:
    """Hold the lock on `path` if it is free; yield whether we hold it. Never waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = _same_file(descriptor, path)
    except BlockingIOError:
        ours = False
    try:
        yield ours
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a running process holds the lock on `path`."""
    if not path.exists():
        return False
    with claim(path) as ours:
        return not ours


def _wait(descriptor: int, waiting: Callable[[], None] | None) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
                waiting = None
            time.sleep(POLL)  # not a blocking flock: Ctrl-C and SIGTERM must reach a waiting run


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def heartbeat_lease(
    backend: FsspecBackend, folder: str, waiting: Callable[[], None] | None = None, ttl: float = TTL
) -> Generator[None]:
    """Hold the lease `folder` on a store without locks. A holder without heartbeat is skipped after `ttl` seconds."""
    mine = f"{folder}/{time.time_ns():020d}-{uuid.uuid4().hex}"
    backend.write(mine, b"")
    stop = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(backend, mine, stop, ttl / 3), daemon=True)
    heartbeat.start()
    try:
        while _current_holder(backend, folder, mine, ttl) != mine:
            if waiting:
                waiting()
                waiting = None
            time.sleep(POLL)
        yield
    finally:
        stop.set()
        heartbeat.join()
        backend.delete(mine)


def _beat(backend: FsspecBackend, name: str, stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        backend.write(name, b"")


def _current_holder(backend: FsspecBackend, folder: str, mine: str, ttl: float) -> str:
    try:
        now = backend.age(mine)  # relative to our own object's age, so that only the store's clock matters
    except FileNotFoundError:  # suspended longer than the ttl and skipped: enter again
        backend.write(mine, b"")
        now = 0.0
    for name in backend.names(folder):
        if name == mine:
            return mine
        try:
            if backend.age(name) - now < ttl:
                return name
            backend.delete(name)
        except FileNotFoundError:
            continue
    return mine
