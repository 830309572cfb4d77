"""Map stops by signal to Prefect states: the run is Cancelled, and so is the task it stopped in.

A training finishes its step and saves a checkpoint before it stops (`callbacks.control.StopOnSignal`), which
raises `Interrupted`; everywhere else SIGTERM stops at once, as SIGINT does. In a process that Prefect's worker started,
that ends the run as the signal would have ended it.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.config.errors import Interrupted, Signalled
from tasks.runtime.log import warn
from tasks.runtime.prefect_api.caller_process import without_api
from tasks.runtime.prefect_api.launch import api_answers, in_flow

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

Function = TypeVar("Function", bound=Callable[..., Any])


def cancellable(function: Function) -> Function:
    """Let an interrupted flow end as Cancelled; its caller still gets the `Interrupted`."""

    @wraps(function)
    def call(*positional: object, **named: object) -> object:
        from prefect.exceptions import TerminationSignal

        try:
            with _sigterm_as_sigint(), _tolerating_lost_api():
                done = function(*positional, **named)
        except TerminationSignal as stop:
            if _started_by_worker():
                raise
            return cancelled(Interrupted(f"stopped by signal {stop.signal}; run the same command again to resume"))
        except KeyboardInterrupt as stop:  # outside a training, so no checkpoint was saved
            return cancelled(interrupted(stop))
        except Interrupted as stop:
            if not _started_by_worker():
                return cancelled(stop)
            warn(str(stop))
            # Cancelled if Prefect sent the signal to cancel; else Crashed, as any process that was terminated.
            raise TerminationSignal(signal=signal.SIGTERM) from stop
        return done

    return call  # type: ignore[return-value]


def interrupted(stop: KeyboardInterrupt) -> Interrupted:
    """Return the error of a run that was stopped outside a training's steps."""
    by = f"stopped by signal {stop.number}" if isinstance(stop, Signalled) else "interrupted"
    return Interrupted(f"{by}; run the same command again to resume")


@contextmanager
def _sigterm_as_sigint() -> Generator[None]:
    """Within, SIGTERM stops the run as Ctrl-C does, with our own message. A run started by Prefect's worker, and a
    subflow of one, keep Prefect's handler, which does the same and knows why the signal was sent."""
    from prefect.utilities import engine

    known: Any = engine
    theirs = signal.getsignal(signal.SIGTERM) is known._prefect_sigterm_handler
    if threading.current_thread() is not threading.main_thread() or _started_by_worker() or theirs:
        yield
        return

    def stop(number: int, _: object) -> None:
        raise Signalled(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _tolerating_lost_api() -> Generator[None]:
    """Let the run finish even if the API goes away within. For a worker's run, Prefect's client retries instead, as
    long as a server takes to restart, because the worker waits for the final state."""
    try:
        yield
    finally:
        if in_flow() and not _started_by_worker() and not api_answers(patient=True):
            warn("Prefect's API is gone: it shows this run only up to here; nothing else is lost")
            without_api()


def cancelled(stop: Interrupted) -> "State[Any]":
    """Return the final state of a flow or task that `stop` ended; calling that flow or task raises `stop`."""
    from prefect.states import Cancelled

    return Cancelled(message=str(stop), data=stop)


@contextmanager
def answering_for_prefect() -> Generator[None]:
    """Within, tell Prefect's runner that SIGTERM is handled, although a training's handler replaces Prefect's.

    The runner asks the run's process before it sends a signal. If Prefect's own handler is not installed, the answer is
    no, and a cancelled run would first be reported as Crashed.
    """
    from prefect.utilities import engine

    known: Any = engine
    real = known.signal

    def getsignal(number: int) -> Any:
        return known._prefect_sigterm_handler if number == signal.SIGTERM else real.getsignal(number)

    if real.getsignal(signal.SIGTERM) is not known._prefect_sigterm_handler:
        yield
        return
    known.signal = SimpleNamespace(SIGTERM=real.SIGTERM, getsignal=getsignal, signal=real.signal)
    try:
        yield
    finally:
        known.signal = real


def _started_by_worker() -> bool:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and str(run.id) == os.environ.get("PREFECT__FLOW_RUN_ID")
