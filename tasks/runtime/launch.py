"""Everything around a flow run that is not the run: its API, its quiet, and the imports that can overlap."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tasks.runtime.api_server import QUIET
from tasks.runtime.server import Server, api

Result = TypeVar("Result")


def in_flow() -> bool:
    """Whether this code already runs inside a Prefect flow."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


@contextmanager
def prefect_at_hand(meanwhile: Callable[[], bool]) -> Iterator[Server]:
    """Have Prefect imported and its API answering; `meanwhile` runs while a child server of ours starts.

    `meanwhile` says whether the run will take long. If not, or if nobody can look at the server, there is no
    heartbeat: its thread costs every flow a second. The caller's own Prefect settings and environment are as before
    afterwards.

    Raises:
        MachineError: no API answers.
    """
    with api() as server, _environment(server):
        long = meanwhile()
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        changes: dict[Any, Any] = {PREFECT_API_URL: server.url}
        if not (long and server.visible):
            changes[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
        with temporary_settings(updates=changes):
            server.ready()
            try:
                yield server
            finally:
                _flush()


def import_heavy() -> None:
    """Import what the heavy stages need."""
    # On import it warns that a kernel for 4-bit CPU inference could not be fetched from a hub; nothing here uses it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import peft
    import transformers
    from transformers import Trainer

    assert peft and transformers and Trainer


def silence_prefect() -> None:
    """Keep Prefect's own lines off a terminal that has ours; its API still gets them."""
    from prefect.logging.configuration import setup_logging

    setup_logging()
    root = logging.getLogger()
    for logger in (root, *(logging.getLogger(name) for name in list(root.manager.loggerDict) if "prefect" in name)):
        for handler in list(logger.handlers):
            if type(handler).__name__ in ("PrefectConsoleHandler", "_SafeStreamHandler"):
                logger.removeHandler(handler)
    logging.lastResort = None


@contextmanager
def _environment(server: Server) -> Iterator[None]:
    """Variables that must stand before Prefect is imported."""
    wanted = {name: QUIET[name] for name in ("DO_NOT_TRACK",)}
    if server.folder is not None and "prefect" not in sys.modules:
        wanted["PREFECT_HOME"] = str(server.folder)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _flush() -> None:
    """Let the run's log reach the API before it goes away."""
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
