"""The environment of a flow run: its API, its logging, and imports that overlap with the API's start."""

import logging
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tasks.runtime.environment import environment
from tasks.runtime.prefect_api.api_server import QUIET
from tasks.runtime.prefect_api.caller_process import refresh_settings, restoring_process
from tasks.runtime.prefect_api.server import Server, answers, api
from tasks.runtime.secrets import redacting_errors, secrets_in_environment

Result = TypeVar("Result")
# Prefect's default of 180 s is longer than the 90 s after which the automation marks silent runs as Crashed.
HEARTBEAT_SECONDS = 30
RESTART_SECONDS = 20.0

_lasting: ContextVar[bool] = ContextVar("finetune_api_lasts", default=False)  # the API existed before the run


def in_flow() -> bool:
    """Whether this code already runs inside a Prefect flow."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def api_answers(patient: bool = False) -> bool:
    """Whether the API answers; if it is gone, Prefect's client would retry for a minute on each call.

    Args:
        patient: whether to wait for a persistent server that may be restarting; a child server of ours never restarts.
    """
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    deadline = time.monotonic() + (RESTART_SECONDS if patient and _lasting.get() else 0)
    while not (found := url is None or answers(url.rstrip("/"))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


@contextmanager
def prefect_at_hand(meanwhile: Callable[[], bool]) -> Generator[Server]:
    """Import Prefect and provide an API that answers; `meanwhile` runs while a child server of ours starts.

    `meanwhile` returns whether the run will take long. If not, or if the server has no UI, there is no heartbeat: its
    thread costs every flow a second. The caller's Prefect settings and environment are restored afterwards.

    Raises:
        MachineError: no API answers.
    """
    with api() as server, _environment(server), restoring_process(lambda: answers(server.url)):
        long = meanwhile()
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        changes: dict[Any, Any] = {PREFECT_API_URL: server.url}
        changes[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = HEARTBEAT_SECONDS if long and server.visible else None
        with temporary_settings(updates=changes):
            server.ready()
            token = _lasting.set(server.visible)
            try:
                yield server
            finally:
                _lasting.reset(token)


@contextmanager
def blocks_at_hand(secrets: Mapping[str, str]) -> Generator[None]:
    """Provide secrets outside a flow run, as for a plan; this needs an API only if there are any."""
    if not secrets:
        yield
        return
    with prefect_at_hand(lambda: False), redacting_errors(), secrets_in_environment(secrets):
        yield


def import_heavy() -> None:
    """Import what the heavy stages need."""
    # Its import warns that a kernel for 4-bit CPU inference could not be fetched from a hub; nothing here uses it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import peft
    import transformers
    from transformers import Trainer

    assert peft and transformers and Trainer


def silence_prefect() -> None:
    """Remove Prefect's console log handlers; its API still gets the log."""
    from prefect.logging.configuration import setup_logging

    setup_logging()
    root = logging.getLogger()
    for logger in (root, *(logging.getLogger(name) for name in list(root.manager.loggerDict) if "prefect" in name)):
        for handler in list(logger.handlers):
            if type(handler).__name__ in ("PrefectConsoleHandler", "_SafeStreamHandler"):
                logger.removeHandler(handler)
    logging.getLogger("prefect").addHandler(logging.NullHandler())  # else Python warns that there is none
    logging.lastResort = None


@contextmanager
def quietly(server: Server) -> Generator[None]:
    """When called from Python with a server without UI, log our lines to stderr instead of Prefect's, which would name
    that server; restore logging afterwards."""
    if server.visible:
        yield
        return
    ours, root = logging.getLogger("finetune"), logging.getLogger()
    last, before = logging.lastResort, (list(ours.handlers), ours.level)
    loggers = [root, *(each for each in map(logging.getLogger, list(root.manager.loggerDict)) if each.handlers)]
    handlers = [(logger, list(logger.handlers)) for logger in loggers]
    silence_prefect()
    if not ours.handlers and not root.handlers:
        plain = logging.StreamHandler()
        plain.setFormatter(logging.Formatter("  %(message)s"))
        ours.addHandler(plain)
        ours.setLevel(ours.level or logging.INFO)
    try:
        yield
    finally:
        logging.lastResort, ours.handlers = last, before[0]
        ours.setLevel(before[1])
        for logger, kept in handlers:
            logger.handlers = kept


@contextmanager
def _environment(server: Server) -> Generator[None]:
    """Set variables that Prefect reads on import."""
    wanted = {name: QUIET[name] for name in ("DO_NOT_TRACK",)}
    if server.folder is not None and "prefect" not in sys.modules:
        wanted["PREFECT_HOME"] = str(server.folder)
    with environment(wanted):
        yield
    if wanted.keys() - {"DO_NOT_TRACK"}:
        refresh_settings()  # Prefect was imported with a home folder that is now removed
