"""A stop by signal, said in Prefect's words: the run is Cancelled, and so is the task it stopped in.

A training finishes its step and saves a checkpoint before it stops (`tasks.training.callbacks.StopOnSignal`), which
raises `Interrupted`. In a process that Prefect's worker started, that ends the run as the signal would have ended it.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, TypeVar

from tasks.config.errors import Interrupted
from tasks.runtime.log import warn

Function = TypeVar("Function", bound=Callable[..., Any])


def cancellable(function: Function) -> Function:
    """Have a flow that was interrupted end as Cancelled. Whoever called it gets the `Interrupted` all the same."""

    @wraps(function)
    def call(*positional: Any, **named: Any) -> Any:
        try:
            return function(*positional, **named)
        except KeyboardInterrupt:  # outside a training, which would have saved a checkpoint first
            return cancelled(Interrupted("interrupted; the same command goes on from here"))
        except Interrupted as stop:
            if not _started_by_worker():
                return cancelled(stop)
            from prefect.exceptions import TerminationSignal

            warn(str(stop))
            # Cancelled if the signal was Prefect's way to cancel; else Crashed, as of any process that was told to end.
            raise TerminationSignal(signal=signal.SIGTERM) from stop

    return call  # type: ignore[return-value]


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
