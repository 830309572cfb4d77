"""Stops by signal as Prefect states: the run is Cancelled, and so is the task it stopped in.

A training finishes its step and saves a checkpoint before it stops (`callbacks.control.StopOnSignal`), which
raises `Interrupted`; everywhere else SIGTERM stops at once, as SIGINT does. In a process that Prefect's worker started,
that ends the run as the signal would have ended it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeVar

from tasks.config.errors import Interrupted, Signalled
from tasks.runtime.log import warn
from tasks.runtime.prefect_api.caller_process import without_api
from tasks.runtime.prefect_api.launch import heard, in_flow

Function = TypeVar("Function", bound=Callable[..., Any])


def cancellable(function: Function) -> Function:
    """Let an interrupted flow end as Cancelled; its caller still gets the `Interrupted`."""

    @wraps(function)
    def call(*positional: Any, **named: Any) -> Any:
        try:
            with _sigterm_as_sigint(), _outliving_the_api():
                done = function(*positional, **named)
        except KeyboardInterrupt as stop:  # outside a training, which would have saved a checkpoint first
            return cancelled(interrupted(stop))
        except Interrupted as stop:
            if not _started_by_worker():
                return cancelled(stop)
            from prefect.exceptions import TerminationSignal

            warn(str(stop))
            # Cancelled if the signal was Prefect's way to cancel; else Crashed, as of any process that was told to end.
            raise TerminationSignal(signal=signal.SIGTERM) from stop
        return done

    return call  # type: ignore[return-value]


def interrupted(stop: KeyboardInterrupt) -> Interrupted:
    """The error of a run that was stopped outside a training's steps."""
    by = f"stopped by signal {stop.number}" if isinstance(stop, Signalled) else "interrupted"
    return Interrupted(f"{by}; the same command goes on from here")


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Within, SIGTERM stops the run as Ctrl-C does, so that it ends with its own words. A run that Prefect's worker
    started is left to Prefect's handler, which does the same and knows why the signal was sent."""
    if threading.current_thread() is not threading.main_thread() or _started_by_worker():
        yield
        return

    def stop(number: int, _: Any) -> None:
        raise Signalled(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _outliving_the_api() -> Iterator[None]:
    """Within, the API may go away: that costs only its view of the run. A worker waits for word of the run it started,
    and Prefect's client tries for as long as a server takes to start again."""
    try:
        yield
    finally:
        if in_flow() and not _started_by_worker() and not heard(patient=True):
            warn("Prefect's API has gone away: what it shows of this run ends here; nothing else is lost")
            without_api()


def cancelled(stop: Interrupted) -> Any:
    """The final state of a flow or task that `stop` ended; calling that flow or task raises `stop`."""
    from prefect.states import Cancelled

    return Cancelled(message=str(stop), data=stop)


@contextmanager
def answering_for_prefect() -> Iterator[None]:
    """Within, Prefect's runner is told that SIGTERM will be heeded, although a training's handler stands for Prefect's.

    The runner asks the run's process before it sends a signal. Where Prefect's own handler is not the one installed,
    the answer is no, and what was cancelled would be called Crashed first.
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
