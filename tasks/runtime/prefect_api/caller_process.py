"""What Prefect changes in the process it runs in (settings, loggers, threads), put back when the run is over.

Prefect 3.8 delivers logs and events from services of its own, in threads that outlive a flow run. Where the API was
ours it is gone by then: whatever is still held would be tried again for a minute, and each failure printed.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

DELIVERY_SECONDS = 10.0
LOGGERS = ("prefect", "uvicorn", "fastapi")  # those that Prefect's logging configuration names


@contextmanager
def process_kept(answers: Callable[[], bool]) -> Iterator[None]:
    """Within, flows may run; afterwards Prefect's loggers and threads are as they were.

    Args:
        answers: whether there is an API that what is left of logs and events can be delivered to.
    """
    if imported := "prefect" in sys.modules:
        end_services()  # the caller's own deliver to the caller's API; ours are new ones
    with _loggers_kept():
        loops = _loops() if imported else []
        try:
            yield
        finally:
            if "prefect" in sys.modules:
                end_services(deliver=answers())
                _end_loops(but=loops)


def end_services(deliver: bool = True) -> None:
    """End Prefect's services: they deliver what they hold first; or, where no API answers, drop it."""
    from prefect._internal.concurrency import logger
    from prefect.logging.handlers import APILogWorker

    before, logger.disabled = logger.disabled, not deliver
    if not deliver:
        for service in list(APILogWorker._instances.values()):  # of all kinds of services
            if service._loop is not None and service._task is not None:
                service._loop.call_soon_threadsafe(service._task.cancel)
    # In a thread: where an event loop runs (a notebook), Prefect would return a coroutine instead of waiting.
    ending = Thread(target=APILogWorker.drain_all, kwargs={"timeout": DELIVERY_SECONDS}, daemon=True)
    ending.start()
    ending.join()
    logger.disabled = before


def without_api() -> None:
    """Let the flow run this code is in end without its API, which is gone: Prefect would try for a minute to tell it
    how the run ended, and then raise that it cannot, in place of what the run returns."""
    from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
    from prefect.context import FlowRunContext

    def accepted(_: Any, state: Any, **__: Any) -> Any:
        return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())

    context = FlowRunContext.get()
    if context is not None:
        client: Any = context.client
        client.set_flow_run_state = accepted


def refresh_settings() -> None:
    """Have Prefect read its settings anew from an environment that is now the caller's again; the home that it makes
    for that does not stay."""
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
        was_there = home.exists()
        refresh_global_settings_context()
        if not was_there:
            with suppress(OSError):  # there is none, or it holds something
                home.rmdir()


def _loops() -> list[Any]:
    """The threads in which Prefect runs coroutines."""
    from prefect._internal.concurrency import threads

    return [loop for loop in (threads._global_loop, threads._run_sync_loop) if loop is not None]


def _end_loops(but: list[Any]) -> None:
    for loop in _loops():
        if loop not in but:
            loop.shutdown()
            loop.thread.join(DELIVERY_SECONDS)


@contextmanager
def _loggers_kept() -> Iterator[None]:
    imported = "prefect" in sys.modules
    before = {logger: _state(logger) for logger in _loggers()}
    try:
        yield
    finally:
        if imported:
            for logger in _loggers():
                _restore(logger, before.get(logger, ([], logging.NOTSET, True)))
        elif "prefect" in sys.modules:
            _give_prefect_its_own(logging.getLogger())
            _restore(logging.getLogger(), before[logging.getLogger()])


def _give_prefect_its_own(root: logging.Logger) -> None:
    """Prefect hung its console on the root logger when it was imported. There it would print the lines of others, and
    keep a later `logging.basicConfig` from doing anything; on Prefect's own logger it serves the caller's own flows."""
    prefect = logging.getLogger("prefect")
    for handler in root.handlers:
        if type(handler).__name__ == "PrefectConsoleHandler":
            prefect.addHandler(handler)
            prefect.propagate = False


def _restore(logger: logging.Logger, state: tuple[list[logging.Handler], int, bool]) -> None:
    logger.handlers, logger.propagate = list(state[0]), state[2]
    logger.setLevel(state[1])


def _state(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool]:
    return list(logger.handlers), logger.level, logger.propagate


def _loggers() -> list[logging.Logger]:
    root = logging.getLogger()
    known = (root.manager.loggerDict[name] for name in sorted(root.manager.loggerDict) if name.startswith(LOGGERS))
    return [root, *(logger for logger in known if isinstance(logger, logging.Logger))]
