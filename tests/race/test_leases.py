"""Who may build: the kernel's lock on a local root, a heartbeat elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tasks.artifacts.backend import FsspecBackend, open_backend
from tasks.artifacts.lease import claim, flock_lease, heartbeat_lease, is_held

TTL = 0.6
Lease = Callable[[Callable[[], None] | None], AbstractContextManager[None]]


@pytest.fixture(params=["flock", "heartbeat"])
def lease(request: pytest.FixtureRequest, tmp_path: Path) -> Lease:
    if request.param == "flock":
        return lambda waiting: flock_lease(tmp_path / "locks" / "a.lock", waiting)
    remote = backend(f"memory://{tmp_path.name}")
    return lambda waiting: heartbeat_lease(remote, "leases/a", waiting, TTL)


def backend(root: str) -> FsspecBackend:
    found = open_backend(root)
    assert isinstance(found, FsspecBackend)
    return found


def test_one_at_a_time(lease: Lease) -> None:
    inside, most, told, lock = 0, 0, 0, threading.Lock()

    def wait() -> None:
        nonlocal told
        told += 1

    def build() -> None:
        nonlocal inside, most
        with lease(wait):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.03)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=build) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert most == 1
    assert 4 <= told <= 5, "each is told once that it waits"


def test_an_error_lets_go(lease: Lease) -> None:
    with pytest.raises(KeyError), lease(None):
        raise KeyError
    with lease(lambda: pytest.fail("nobody holds it")):
        pass


def test_a_lock_that_was_collected_while_we_waited_does_not_count(tmp_path: Path) -> None:
    path, order = tmp_path / "a.lock", list[str]()

    def second() -> None:
        with flock_lease(path):
            order.append("second")

    with flock_lease(path):
        waiter = threading.Thread(target=second)
        waiter.start()
        time.sleep(0.15)
        path.unlink()
        with flock_lease(path):  # a newcomer, on the new file
            time.sleep(0.25)
            order.append("newcomer")
    waiter.join(10)
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
    remote, order = backend("memory://line"), list[int]()

    def build(number: int) -> None:
        with heartbeat_lease(remote, "leases/a", None, 5.0):
            order.append(number)

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    with heartbeat_lease(remote, "leases/a", None, 5.0):
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3]
    assert list(remote.names("leases")) == []


def test_a_dead_holder_is_passed_over_after_the_ttl_and_a_living_one_is_not() -> None:
    remote = backend("memory://dead")
    remote.write(f"leases/a/{time.time_ns():020d}-dead", b"")  # it came first and beats no more
    started = time.monotonic()
    with heartbeat_lease(remote, "leases/a", None, TTL):
        waited = time.monotonic() - started
        assert TTL * 0.5 < waited < TTL * 3
        got = threading.Event()

        def other() -> None:
            with heartbeat_lease(remote, "leases/a", None, TTL):
                got.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(TTL * 2.5), "a heart that beats keeps the lease for longer than the ttl"
    thread.join(10)
    assert got.is_set()


def test_one_that_was_passed_over_in_its_sleep_comes_back() -> None:
    remote, got = backend("memory://slept"), threading.Event()

    def other() -> None:
        with heartbeat_lease(remote, "leases/a", None, 30.0):
            got.set()

    with heartbeat_lease(remote, "leases/a", None, 30.0):
        first = set(remote.names("leases/a"))
        thread = threading.Thread(target=other)
        thread.start()
        while len(list(remote.names("leases/a"))) < 2:
            time.sleep(0.01)
        for name in set(remote.names("leases/a")) - first:
            remote.delete(name)
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert got.is_set()
