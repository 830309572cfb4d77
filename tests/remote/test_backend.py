"""What a store says when the service it lies on fails: each client has errors of its own."""

import errno
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tasks.artifacts.backend import FsspecBackend, open_backend
from tasks.config.errors import MachineError

CALLS = {"read": "cat_file", "write": "pipe_file", "put": "put_file", "get": "get_file", "size": "info",
         "names": "find", "delete": "exists", "age": "modified"}  # fmt: skip


def ask(backend: FsspecBackend, call: str, file: Path) -> object:
    more = {"write": (b"",), "put": ("a/b",), "get": (file,)}
    given = (file,) if call == "put" else ("a/b",) if call != "names" else ("a",)
    answer = getattr(backend, call)(*given, *more.get(call, ()))
    return list(answer) if call == "names" else answer


class ClientError(Exception):
    """Of the service."""


ERRORS = [ClientError("no such endpoint"), PermissionError("no such endpoint"),
          OSError(errno.EBUSY, "no such endpoint")]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize(("call", "of_client"), CALLS.items())
def test_a_client_s_own_error_names_the_store(
    call: str, of_client: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    file = tmp_path / "file"
    file.write_bytes(b"kept")
    backend = open_backend("memory://refusing")
    assert isinstance(backend, FsspecBackend)
    monkeypatch.setattr(MemoryFileSystem, of_client, refuse)
    with pytest.raises(MachineError, match=r"the store at memory:///refusing cannot be used: .*no such endpoint"):
        ask(backend, call, file)
    assert file.read_bytes() == b"kept"


@pytest.mark.parametrize("call", ["write", "put"])
def test_a_bucket_that_is_not_there(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("no such bucket")

    file = tmp_path / "file"
    file.write_bytes(b"kept")
    backend = open_backend("memory://refusing")
    assert isinstance(backend, FsspecBackend)
    monkeypatch.setattr(MemoryFileSystem, CALLS[call], refuse)
    with pytest.raises(MachineError, match="no such bucket"):
        ask(backend, call, file)


def test_a_mistake_of_ours_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda _: b"")  # given more than it takes
    with pytest.raises(TypeError):
        open_backend("memory://refusing").read("a")


def test_what_has_a_number_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told as one by whoever asked: which stage, and what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(OSError, match="No space left") as full:
        open_backend("memory://refusing").write("a", b"")
    assert full.value.errno == 28
