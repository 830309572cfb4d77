"""No test leaks into another: what a process shares is compared after each test and put back; a difference fails it."""

import copy
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Kept for the life of the process by the libraries and fixtures that start them.
LASTING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "tests.kill.warm", "flows.cli serve")


@dataclass(frozen=True)
class Shared:
    """Something all tests of a process share: how to read it, and how to put it back."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], None]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def _restore_environment(before: dict[str, str]) -> None:
    for name in _environment().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 — a folder that is gone is an answer here
    except FileNotFoundError:
        return None


def _restore_folder(before: str | None) -> None:
    os.chdir(before or "/")


def _signals() -> dict[int, Any]:
    ours = signal.valid_signals() - {signal.SIGALRM}  # that one is pytest-timeout's
    return {number: signal.getsignal(number) for number in ours}


def _restore_signals(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if signal.getsignal(number) is not handler and handler is not None:
            signal.signal(number, handler)


def _logger() -> tuple[Any, ...]:
    logger = logging.getLogger("finetune")
    return list(logger.handlers), logger.level, logger.propagate, logger.disabled, logging.lastResort


def _restore_logger(before: tuple[Any, ...]) -> None:
    logger = logging.getLogger("finetune")
    logger.handlers, logger.level, logger.propagate, logger.disabled, logging.lastResort = before


def _fsspec() -> dict[str, Any]:
    return copy.deepcopy(sys.modules["fsspec"].config.conf) if "fsspec" in sys.modules else {}


def _restore_fsspec(before: dict[str, Any]) -> None:
    conf = sys.modules["fsspec"].config.conf
    conf.clear()
    conf.update(before)


def _prefect() -> tuple[str, str, str | None] | None:
    """The profile, the home, and the API of Prefect's settings in force, once Prefect is imported."""
    if "prefect.context" not in sys.modules:
        return None
    from prefect.context import get_settings_context

    found = get_settings_context()
    return found.profile.name, str(found.settings.home), found.settings.api.url


def _refresh_prefect(_: Any) -> None:
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _path() -> list[str]:
    return [each for each in sys.path if "/site-packages/ray/" not in each]  # Ray adds one when it is imported


def _torch() -> tuple[Any, ...] | None:
    if (torch := sys.modules.get("torch")) is None or not hasattr(torch, "get_num_threads"):
        return None
    return (
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
        torch.get_default_dtype(), torch.is_grad_enabled(),
    )  # fmt: skip


def _restore_torch(before: tuple[Any, ...] | None) -> None:
    if before is None:
        return
    import torch

    threads, precision, deterministic, dtype, grad = before
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)


def _children() -> set[int]:
    """This process's own children, but for the lasting ones."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in path.read_text().split()}
        except FileNotFoundError:
            continue
    return {pid for pid in found if not any(name in _command(pid) for name in LASTING)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return LASTING[0]  # gone already


def _kill_new(before: set[int]) -> None:
    for pid in _children() - before:
        os.kill(pid, signal.SIGKILL)


def _ports() -> set[int]:
    """The ports this process listens on."""
    return {
        found.laddr.port
        for found in psutil.Process().net_connections("inet")
        if found.status == psutil.CONN_LISTEN and found.type == socket.SOCK_STREAM
    }


def _cache() -> set[str]:
    """What lies in the user's cache (a folder of the session's own while tests run)."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "finetune-flow"
    return {str(path) for path in folder.rglob("*")}


def _empty_cache(before: set[str]) -> None:
    for name in sorted(_cache() - before, reverse=True):
        path = Path(name)
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def _nothing(_: Any) -> None:
    """There is no way back; the failure names the test."""


SHARED = (
    Shared("environment", _environment, _restore_environment),
    Shared("current folder", _folder, _restore_folder),
    Shared("signal handlers", _signals, _restore_signals),
    Shared("finetune logger", _logger, _restore_logger),
    Shared("fsspec settings", _fsspec, _restore_fsspec),
    Shared("Prefect settings", _prefect, _refresh_prefect),
    Shared("torch settings", _torch, _restore_torch),
    Shared("import path", _path, lambda before: sys.path.__setitem__(slice(None), before)),
    Shared("child processes", _children, _kill_new),
    Shared("listening ports", _ports, _nothing),
    Shared("cache folder", _cache, _empty_cache),
)
# Of these the first look, when the library has just been imported, is no change.
IMPORTED = ("Prefect settings", "torch settings", "fsspec settings")


@contextmanager
def isolated() -> Iterator[list[str]]:
    """Yield a list that holds, afterwards, what the code within changed; all of it is put back."""
    changed: list[str] = []
    before = {each.name: each.read() for each in SHARED}
    try:
        yield changed
    finally:
        _forget_files_in_memory()
        for each in SHARED:
            found, was = each.read(), before[each.name]
            if isinstance(found, set):  # of these only what is new is left over
                was = was & found
            if found == was or (not was and each.name in IMPORTED):
                continue
            changed.append(f"{each.name}: {_difference(was, found)}")
            each.restore(was)


def _forget_files_in_memory() -> None:
    """`memory://` is one place for all of a process; each test finds it empty."""
    if memory := sys.modules.get("fsspec.implementations.memory"):
        memory.MemoryFileSystem.store.clear()
        memory.MemoryFileSystem.pseudo_dirs[:] = [""]


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return ", ".join(f"{name} {before.get(name)!r} → {after.get(name)!r}" for name in names)
    if isinstance(before, set) and isinstance(after, set):
        return ", ".join(str(each) for each in sorted(after - before))
    return f"{before!r} → {after!r}"
