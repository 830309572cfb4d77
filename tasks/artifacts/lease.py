"""Single flight: of many who need one key, one builds and the rest wait for its record.

On the local disk the kernel keeps the lock and frees it when its holder dies, however it dies. Elsewhere a holder's
heartbeat does: each contender writes one object whose name sorts by its arrival, touches it while it lives, and the
first living one holds. Two holders at once (a paused process, a slow store) are harmless: members are named by
their bytes and the record is one write, so the worst is work done twice.
"""

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.artifacts.backend import FsspecBackend

POLL = 0.1
TTL = 30.0


@contextmanager
def flock_lease(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the kernel's lock on `path` (created if need be); `waiting` is called once if another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        _wait(descriptor, waiting)
        if _same_file(descriptor, path):
            break
        os.close(descriptor)  # the file was collected while we waited: the lock that counts is on the new one
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold the lock on `path` if nobody does; yield whether we do. It never waits."""
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
    """Whether a living process holds the lock on `path`."""
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
) -> Iterator[None]:
    """Hold `folder` on a store without locks. A holder that stops beating is passed over after `ttl` seconds."""
    mine = f"{folder}/{time.time_ns():020d}-{uuid.uuid4().hex}"
    backend.write(mine, b"")
    stop = threading.Event()
    beats = threading.Thread(target=_beat, args=(backend, mine, stop, ttl / 3), daemon=True)
    beats.start()
    try:
        while _first_living(backend, folder, mine, ttl) != mine:
            if waiting:
                waiting()
                waiting = None
            time.sleep(POLL)
        yield
    finally:
        stop.set()
        beats.join()
        backend.delete(mine)


def _beat(backend: FsspecBackend, name: str, stop: threading.Event, interval: float) -> None:
    while not stop.wait(interval):
        backend.write(name, b"")


def _first_living(backend: FsspecBackend, folder: str, mine: str, ttl: float) -> str:
    try:
        now = backend.age(mine)  # ages are compared with our own, so that only the store's clock counts
    except FileNotFoundError:  # we slept longer than the ttl and were passed over: take our place again
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
