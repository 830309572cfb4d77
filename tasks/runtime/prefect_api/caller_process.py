"""Restore what Prefect changes in the caller's process (settings, loggers, threads) after a run.

Prefect 3.8 delivers logs and events from background threads that outlive a flow run. If the API was our child process,
it has ended by then: pending deliveries would be retried for a minute, and each failure printed.
"""

# pyright: reportPrivateUsage=false
# (the threads of Prefect have no public names)
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect._internal.concurrency.threads import EventLoopThread
    from prefect.client.schemas.objects import State

DELIVERY_SECONDS = 10.0
LOGGERS = ("prefect", "uvicorn", "fastapi")  # those in Prefect's logging configuration


@contextmanager
def restoring_process(answers: Callable[[], bool]) -> Generator[None]:
    """Restore Prefect's loggers and threads after the flows that run within.

    Args:
        answers: whether an API answers to which pending logs and events can be delivered.
    """
    if imported := "prefect" in sys.modules:
        end_services()  # the caller's services deliver to the caller's API; ours are new ones
    with _keeping_loggers():
        loops, monitor = _loops() if imported else (), _bar_monitor()
        try:
            yield
        finally:
            if "prefect" in sys.modules:
                end_services(deliver=answers())
                _end_loops(but=loops)
            _end_bar_monitor(but=monitor)


def _bar_monitor() -> object:
    """The thread in which tqdm refreshes progress bars, if there is one."""
    return sys.modules["tqdm"].tqdm.monitor if "tqdm" in sys.modules else None


def _end_bar_monitor(but: object) -> None:
    monitor: Any = _bar_monitor()
    if monitor is not None and monitor is not but:
        monitor.exit()
        sys.modules["tqdm"].tqdm.monitor = None  # the next bar starts one


def end_services(deliver: bool = True) -> None:
    """End Prefect's services; they first deliver what is pending or, if no API answers, drop it."""
    from prefect._internal.concurrency import logger
    from prefect.logging.handlers import APILogWorker

    before, logger.disabled = logger.disabled, not deliver
    if not deliver:
        for service in list(APILogWorker._instances.values()):  # of all types of services
            if service._loop is not None and service._task is not None:
                service._loop.call_soon_threadsafe(service._task.cancel)
    # In a thread: with a running event loop (a notebook), Prefect would return a coroutine instead of waiting.
    ending = Thread(target=APILogWorker.drain_all, kwargs={"timeout": DELIVERY_SECONDS}, daemon=True)
    ending.start()
    ending.join()
    logger.disabled = before


def without_api() -> None:
    """Let the current flow run end without its API, which is gone: Prefect would retry for a minute to report the final
    state, and then raise an error instead of returning the run's result."""
    from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
    from prefect.context import FlowRunContext

    def accepted(_: object, state: "State[Any]", **__: object) -> OrchestrationResult[Any]:
        return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())

    context = FlowRunContext.get()
    if context is not None:
        client: Any = context.client
        client.set_flow_run_state = accepted


def refresh_settings() -> None:
    """Have Prefect reload its settings from the restored environment, and remove the home folder it creates for
    that."""
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
        was_there = home.exists()
        refresh_global_settings_context()
        if not was_there:
            with suppress(OSError):  # it does not exist, or is not empty
                home.rmdir()


def _loops() -> "Sequence[EventLoopThread]":
    """Return the threads in which Prefect runs coroutines."""
    from prefect._internal.concurrency import threads

    return [loop for loop in (threads._global_loop, threads._run_sync_loop) if loop is not None]


def _end_loops(but: "Sequence[EventLoopThread]") -> None:
    for loop in _loops():
        if loop not in but:
            loop.shutdown()
            loop.thread.join(DELIVERY_SECONDS)


@contextmanager
def _keeping_loggers() -> Generator[None]:
    imported = "prefect" in sys.modules
    before = {logger: _state(logger) for logger in _loggers()}
    try:
        yield
    finally:
        if imported:
            for logger in _loggers():
                _restore(logger, before.get(logger, ([], logging.NOTSET, True)))
        elif "prefect" in sys.modules:
            _move_console_handler(logging.getLogger())
            _restore(logging.getLogger(), before[logging.getLogger()])


def _move_console_handler(root: logging.Logger) -> None:
    """Move Prefect's console handler from the root logger, where its import puts it, to Prefect's logger: on the root
    it would print the lines of others and disable a later `logging.basicConfig`."""
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
