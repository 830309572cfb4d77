"""Cells of a sweep as Prefect tasks, each supervising a process: on this machine, or on a Ray or Dask cluster.

A cell that fails, is killed or runs out of memory is one failed task; other cells are not affected.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tasks.config import SweepConfig
from tasks.config.errors import MachineError
from tasks.config.json_types import JsonObject, is_object
from tasks.runtime.environment import environment_kept
from tasks.runtime.log import info, warn
from tasks.runtime.parallel.processes import KILLED, IsCancelled, Processes, run_alone
from tasks.runtime.parallel.reach import api_url
from tasks.runtime.parallel.runners import runner_of, submitting
from tasks.runtime.prefect_api.cancelling import cancellation, mark, mark_cancelling
from tasks.runtime.secrets import redact

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

CELL = "flows.sweep.cell:run_cell"
HEAVY = ("flows.sweep.cell", "flows.pipeline", "torch", "peft", "transformers", "transformers.trainer")
# Where cells share cores, OpenMP threads that spin while waiting slow each other down; results do not change.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
TAIL = 4000
POLL = 0.05
ATTEMPTS = 3
STOP_SECONDS = 120.0
Start = Callable[[str, Path, IsCancelled], int]
Carry: TypeAlias = "Callable[[JsonObject], State[Any]]"
Cell: TypeAlias = "Callable[[str, JsonObject], State[Any]]"


class Fanout:
    """Runs cells, several at a time; a context manager.

    Args:
        sweep: where. slots: of each device of this machine.

    Raises:
        ConfigError: the runner's extra is not installed.
    """

    def __init__(self, sweep: SweepConfig, slots: Mapping[str, int]) -> None:
        self.sweep, self.slots = sweep, dict(slots)
        self._processes: Processes | None = None
        self._ending = threading.Event()
        self._futures: list[PrefectFuture[Any]] = []

    def __enter__(self) -> Self:
        url = api_url()
        environment = PATIENT | ({"PREFECT_API_URL": url} if url else {})
        with ExitStack() as stack:  # undo what was entered if the rest fails
            stack.enter_context(environment_kept())  # Dask would leave OMP_NUM_THREADS=1 set for later trainings
            self._runner = runner_of(self.sweep, sum(self.slots.values()))
            if self.sweep.runner == "processes":
                self._processes = stack.enter_context(Processes(CELL, list(HEAVY), environment))
                self._carry: Carry = partial(_carry, self._start, self.slots)
            else:
                self._carry = partial(_carry_on_worker, environment, self.slots)
            try:
                stack.enter_context(self._runner)
            except OSError as error:  # raised by cluster clients, also as ConnectionError and TimeoutError
                where = f"sweep.address: {self.sweep.address}" if self.sweep.address else f"a local {self.sweep.runner}"
                raise MachineError(f"{where} cannot be used: {error}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self._end()
        finally:
            self._stack.close()

    def _start(self, path: str, log: Path, cancelled: IsCancelled) -> int:
        assert self._processes is not None
        return self._processes.run(path, log, {}, cancelled)

    def _end(self) -> None:
        """Stop: running cells finish their step and save a checkpoint, the others never start."""
        self._ending.set()
        info("stopping: cells finish their step and save a checkpoint; Ctrl-C again ends them at once")
        if self._processes is None:
            mark_cancelling()  # seen by the tasks on workers that wait for cells
            deadline = time.monotonic() + STOP_SECONDS
            for future in self._futures:
                future.wait(max(deadline - time.monotonic(), POLL))
            return
        try:
            self._processes.end()  # before joining the threads that wait for them
            self._runner.cancel_all()
        except BaseException:
            self._processes.kill()
            raise

    def run(
        self, orders: Sequence[Mapping[str, Any]], on_outcome: Callable[[int, Mapping[str, Any]], None]
    ) -> list[JsonObject]:
        """Run orders (`label`, `config`, `origin`, `folder`, `host`, `until`); return their outcomes, in order.

        Args:
            on_outcome: called with (place, outcome) as each cell ends.
        """
        from prefect import task
        from prefect.cache_policies import NO_CACHE
        from prefect.states import Cancelled

        def cell(label: str, order: JsonObject) -> State[Any]:
            return Cancelled(message="the sweep was stopped") if self._ending.is_set() else self._carry(order)

        made = task(name="cell", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)(
            cell if self.sweep.runner == "processes" else _as_task(self._carry)
        )
        with submitting(self.sweep, self._runner) as submit:
            futures = [submit(made, {"label": str(order["label"]), "order": dict(order)}) for order in orders]
            self._futures = futures
            found: dict[int, JsonObject] = {}
            while len(found) < len(futures):
                for at, future in enumerate(futures):
                    if at not in found and (outcome := _outcome_of(future)) is not None:
                        found[at] = outcome
                        on_outcome(at, outcome)
            return [found[at] for at in range(len(futures))]


def _outcome_of(future: PrefectFuture[Any]) -> JsonObject | None:
    """A cell's outcome; None while it runs."""
    found: Any = None
    for _ in range(ATTEMPTS):  # a poll of Dask can fail when its timeout coincides with the answer
        try:
            found = future.result(timeout=POLL, raise_on_failure=False)
            break
        except TimeoutError:
            return None
        except Exception as error:  # noqa: BLE001 — the worker is gone, or Prefect's engine failed: one failed cell
            found = error
    return found if is_object(found) else {"state": "failed", "error": f"its worker ended: {found}"}


def _as_task(carry: Carry) -> Cell:
    def cell(label: str, order: JsonObject) -> State[Any]:
        return carry(order)

    return cell


def _carry_on_worker(environment: Mapping[str, str], slots: Mapping[str, int], order: JsonObject) -> State[JsonObject]:
    """On a worker of a cluster: run the order in a new process, which waits for a slot of that machine."""

    def start(path: str, log: Path, cancelled: IsCancelled) -> int:
        return run_alone(CELL, path, log, environment, cancelled)

    return _carry(start, slots, order)


def _carry(start: Start, slots: Mapping[str, int], order: JsonObject) -> State[JsonObject]:
    """Inside the cell's task: create its flow run, start its process, wait, and return its outcome as a state."""
    from httpx import TransportError
    from prefect.states import Cancelled, Completed, Crashed, Failed

    try:
        flow_run, sweep = _create_flow_run(order)
    except TransportError as error:
        raise MachineError(
            f"{socket.gethostname()}: cannot reach the Prefect API at {api_url()} ({error}); set "
            "PREFECT_API_URL to the address of a server that every worker can reach"
        ) from error
    folder = Path(tempfile.mkdtemp(prefix="finetune-cell-"))
    try:
        spec = {**order, "slots": dict(slots), "flow_run": flow_run, "outcome": str(folder / "outcome.json"),
                "awaited_by": os.getpid()}  # fmt: skip
        (folder / "order.json").write_text(json.dumps(spec))
        log = folder / "log"
        with cancellation(flow_run, sweep) as cancelled:
            try:
                code = None if cancelled() else start(str(folder / "order.json"), log, cancelled)
            except MachineError as error:
                mark(flow_run, Crashed(message=str(error)))
                raise
            outcome = _read(folder / "outcome.json")
            if outcome is None and (code is None or cancelled()):
                outcome = {"state": "interrupted", "error": "cancelled"}
                mark(flow_run, Cancelled(message="cancelled"))
        if outcome is None:
            assert code is not None
            outcome = {"state": "killed" if code < 0 else "failed", "error": _end_of(code)}
            mark(flow_run, Crashed(message=outcome["error"]))  # a killed process cannot report it itself
        if outcome["state"] in ("completed", "paused"):
            return Completed(name=outcome["state"].capitalize(), message=str(outcome["metrics"]), data=outcome)
        outcome["log"] = redact(log.read_text(errors="replace")[-TAIL:]) if log.exists() else ""
        ended = Cancelled if outcome["state"] == "interrupted" else Failed
        if not outcome.get("begun", True):  # its flow run never started, and would stay Pending
            mark(flow_run, ended(message=outcome["error"]))
        return ended(message=outcome["error"], data=outcome)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_of(code: int) -> str:
    if code == KILLED:
        return "killed (signal 9), probably out of memory"
    return f"killed by signal {-code}" if code < 0 else f"its process ended with code {code} and left no outcome"


def _read(path: Path) -> JsonObject | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _create_flow_run(order: Mapping[str, Any]) -> tuple[str, str | None]:
    """Create a flow run of `finetune` as a child of the current task; return its id and the sweep's flow run id."""
    from prefect.client.orchestration import get_client
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    flow: Any = SimpleNamespace(name="finetune", version=None, retries=None, retry_delay_seconds=None)
    with get_client(sync_client=True) as client:
        if context:  # Prefect reports task runs with a delay; the parent of a flow run must exist now
            mine = context.task_run
            client.create_task_run(
                context.task, mine.flow_run_id, mine.dynamic_key, id=mine.id, name=mine.name, state=mine.state
            )
        made = client.create_flow_run(
            flow, name=order["label"], parameters=order["config"], tags=["cell"],
            parent_task_run_id=context.task_run.id if context else None,
        )  # fmt: skip
    return str(made.id), str(context.task_run.flow_run_id) if context else None


def warn_of(label: str, outcome: Mapping[str, Any]) -> None:
    """Log that a cell failed, and why."""
    if outcome["state"] not in ("completed", "paused"):
        warn(f"cell {label}: {outcome['state']}: {outcome.get('error')}")
