"""Who may build: the kernel's lock on a local root, a heartbeat elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tasks.artifacts.backend import FsspecBackend, open_backend
from tasks.artifacts.lease import POLL, claim, flock_lease, heartbeat_lease, is_held
from tests.served import HANG

TTL = 0.6
Lease = Callable[[Callable[[], None] | None], AbstractContextManager[None]]


@pytest.fixture(params=["flock", "heartbeat"])
def lease(request: pytest.FixtureRequest, tmp_path: Path) -> Lease:
    if request.param == "flock":
        return lambda waiting: flock_lease(tmp_path / "locks" / "a.lock", waiting)
    remote = backend(f"memory://{tmp_path.name}")
    return lambda waiting: heartbeat_lease(remote, "leases/a", waiting)


def backend(root: str) -> FsspecBackend:
    found = open_backend(root)
    assert isinstance(found, FsspecBackend)
    return found


def test_one_at_a_time(lease: Lease) -> None:
    inside, most, lock, told = 0, 0, threading.Lock(), threading.Semaphore(0)

    def build() -> None:
        nonlocal inside, most
        with lease(told.release):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.03)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=build) for _ in range(5)]
    with lease(None):
        for thread in threads:
            thread.start()
        for _ in threads:
            assert told.acquire(timeout=HANG)
    for thread in threads:
        thread.join(HANG)
        assert not thread.is_alive()
    assert most == 1
    assert not told.acquire(blocking=False), "each is told once that it waits"


def test_an_error_lets_go(lease: Lease) -> None:
    with pytest.raises(KeyError), lease(None):
        raise KeyError
    with lease(lambda: pytest.fail("nobody holds it")):
        pass


def test_a_lock_that_was_collected_while_we_waited_does_not_count(tmp_path: Path) -> None:
    path, order, waits, first = tmp_path / "a.lock", list[str](), threading.Semaphore(0), ExitStack()

    def second() -> None:
        with flock_lease(path, waits.release):
            order.append("second")

    first.enter_context(flock_lease(path))
    waiter = threading.Thread(target=second)
    waiter.start()
    assert waits.acquire(timeout=HANG)
    path.unlink()
    with flock_lease(path):  # a newcomer, on the new file
        first.close()
        assert waits.acquire(timeout=HANG), "it got the old lock, and waits for the new one"
        order.append("newcomer")
    waiter.join(HANG)
    assert order == ["newcomer", "second"]


def test_claim_never_waits_and_never_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not is_held(path)
    assert not path.exists(), "asking leaves nothing behind"
    with flock_lease(path):
        assert is_held(path)
        with claim(path) as ours:
            assert not ours
    assert not is_held(path)
    with claim(path) as ours:
        assert ours
        assert is_held(path)


def test_first_come_first_served_on_a_remote_root() -> None:
    remote, order, waits = backend("memory://line"), list[int](), threading.Semaphore(0)

    def build(number: int) -> None:
        with heartbeat_lease(remote, "leases/a", waits.release):
            order.append(number)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    with heartbeat_lease(remote, "leases/a"):
        for thread in threads:
            thread.start()
            assert waits.acquire(timeout=HANG)
    for thread in threads:
        thread.join(HANG)
    assert order == [0, 1, 2, 3]
    assert list(remote.names("leases")) == []


@pytest.fixture
def ages(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds since the last heartbeat, by object; those that are not in it have just beaten."""
    given: dict[str, float] = {}
    monkeypatch.setattr(FsspecBackend, "age", lambda _, name: given.get(name, 0.0))
    return given


def test_a_dead_holder_is_passed_over_after_the_ttl_and_a_living_one_is_not(ages: dict[str, float]) -> None:
    remote, got, waits = backend("memory://dead"), threading.Event(), threading.Event()
    first = f"leases/a/{0:020d}-first"
    remote.write(first, b"")

    def other() -> None:
        with heartbeat_lease(remote, "leases/a", waits.set, TTL):
            got.set()

    ages[first] = TTL * 0.99
    thread = threading.Thread(target=other)
    thread.start()
    assert waits.wait(HANG)
    assert not got.wait(5 * POLL), "one that beat within the ttl holds"
    ages[first] = TTL * 1.01
    assert got.wait(HANG)
    thread.join(HANG)
    assert list(remote.names("leases")) == []


def test_a_holder_s_heart_beats_while_it_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    remote, beats = backend("memory://beats"), threading.Semaphore(0)
    write = FsspecBackend.write

    def noted(self: FsspecBackend, name: str, data: bytes) -> None:
        write(self, name, data)
        beats.release()

    monkeypatch.setattr(FsspecBackend, "write", noted)
    with heartbeat_lease(remote, "leases/a", None, TTL):
        for _ in range(4):  # its arrival, and three beats
            assert beats.acquire(timeout=HANG)


def test_one_that_was_passed_over_in_its_sleep_comes_back() -> None:
    remote, got = backend("memory://slept"), threading.Event()

    def other() -> None:
        with heartbeat_lease(remote, "leases/a"):
            got.set()

    with heartbeat_lease(remote, "leases/a"):
        first = set(remote.names("leases/a"))
        thread = threading.Thread(target=other)
        thread.start()
        while len(list(remote.names("leases/a"))) < 2:
            time.sleep(0.01)
        for name in set(remote.names("leases/a")) - first:
            remote.delete(name)
        assert not got.wait(5 * POLL)
    thread.join(HANG)
    assert got.is_set()
