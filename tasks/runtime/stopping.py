"""A stop by signal, said in Prefect's words where Prefect sent the signal."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.config.errors import Interrupted
from tasks.runtime.log import warn


@contextmanager
def terminating() -> Iterator[None]:
    """In a process that a worker started, a training that stopped at a step's end because of a signal ends as that
    signal would have ended it: Prefect then calls the run Cancelled (or Crashed), not Failed.
    """
    try:
        yield
    except Interrupted as stop:
        if not _started_by_worker():
            raise
        from prefect.exceptions import TerminationSignal

        warn(str(stop))
        raise TerminationSignal(signal=signal.SIGTERM) from stop


def _started_by_worker() -> bool:
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and str(run.id) == os.environ.get("PREFECT__FLOW_RUN_ID")
