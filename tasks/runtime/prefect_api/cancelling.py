"""Cancellation of a cell on any machine: the task that waits for its process polls Prefect's API."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

CHECK_SECONDS = 3.0
OF_CELL = {"CANCELLING", "CANCELLED"}
OF_SWEEP = OF_CELL | {"CRASHED", "FAILED"}


@contextmanager
def cancellation(cell: str, sweep: str | None) -> Generator[Callable[[], bool]]:
    """Yield a function that returns whether to stop a cell's flow run. No answer from the API counts as no: a
    restarting server must not end a training.

    Args:
        cell, sweep: ids of the cell's flow run and of the sweep's; either may be cancelled.
    """
    from prefect.client.orchestration import get_client

    wanted = {cell: OF_CELL} | ({sweep: OF_SWEEP} if sweep else {})

    with get_client(sync_client=True) as client:

        def cancelled() -> bool:
            try:
                found = {each: client.read_flow_run(UUID(each)).state_type for each in wanted}
            except Exception:  # noqa: BLE001 — no answer, whichever error the client raises
                return False
            return any(state is not None and state.value in wanted[each] for each, state in found.items())

        yield cancelled


def mark_cancelling() -> None:
    """Set the current flow run to Cancelling, so that its cells on other machines stop."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext
    from prefect.states import Cancelling

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(context.flow_run.id, Cancelling(message="the sweep was stopped"), force=True)


def mark(flow_run: str, state: "State[Any]") -> None:
    """Set a flow run's state, whatever its current state."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run), state, force=True)
