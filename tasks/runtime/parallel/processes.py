"""Processes for the cells of a sweep: one each, so that one that dies does not affect the others."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.config.errors import MachineError
from tasks.runtime.prefect_api.cancelling import CHECK_SECONDS

KILLED = -9
ATTEMPTS = 2
GONE = "the process that starts cells is gone"
IsCancelled = Callable[[], bool]


class _Forker:
    """A process that has imported what cells need and forks them, and the state it has reported so far."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        # Its own session: Ctrl-C in a terminal must reach only the sweep, which then stops its cells itself.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        self.changed, self.gone = threading.Condition(), False
        self.pids: dict[str, int] = {}
        self.codes: dict[int, int] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self, line: bytes) -> None:
        """Start an order.

        Raises:
            BrokenPipeError: the process is gone.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def wait(self, order: str, cancelled: IsCancelled) -> int | None:
        """Wait until an order has ended, asking it to stop if it is cancelled; return the exit code, None if it
        was never started.
        """
        reported = False
        while True:
            with self.changed:
                pid = self.pids.get(order)
                if pid is not None and pid in self.codes:
                    del self.pids[order]
                    return self.codes.pop(pid)
                if self.gone:
                    return None if pid is None else KILLED
                self.changed.wait(CHECK_SECONDS)
                done = pid is None or pid in self.codes
            if not (done or reported) and cancelled():
                reported = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)  # type: ignore[arg-type] — there is one where it is not done

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer = json.loads(line)
            with self.changed:
                if "order" in answer:
                    self.pids[answer["order"]] = answer["pid"]
                elif "code" in answer:
                    self.codes[answer["pid"]] = answer["code"]
                self.changed.notify_all()
        with self.changed:
            self.gone = True
            self.changed.notify_all()


class Processes:
    """Runs `function(order)` in processes forked from one that has imported `modules`; a context manager.

    If the forking process dies, the next order starts another.

    Args:
        function: `package.module:function`, called with a string; what it returns is the exit code.
    """

    def __init__(self, function: str, modules: list[str], environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._command = [sys.executable, "-m", "tasks.runtime.parallel.zygote", function, *modules]
        self._lock, self._ended = threading.Lock(), False

    def __enter__(self) -> Self:
        self._forker = _Forker(self._command, self.environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._forker.process.wait()

    def end(self) -> None:
        """Ask all processes to stop, which lets a training save a checkpoint; no more orders are accepted."""
        with self._lock, contextlib.suppress(BrokenPipeError):  # it has already ended
            self._ended = True
            assert self._forker.process.stdin is not None
            self._forker.process.stdin.close()

    def kill(self) -> None:
        """Kill all of them immediately."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._forker.process.pid, signal.SIGKILL)

    def run(self, order: str, log: Path, environment: Mapping[str, str], cancelled: IsCancelled = lambda: False) -> int:
        """Run an order and wait; return the exit code, negative if a signal killed it.

        Args:
            cancelled: polled; once it returns true, the process is asked to stop (SIGTERM).

        Raises:
            MachineError: the processes are being ended, or none can be started.
        """
        line = json.dumps({"order": order, "log": str(log), "environment": {**self.environment, **environment}})
        for _ in range(ATTEMPTS):
            code = self._taken(line.encode() + b"\n").wait(order, cancelled)
            if code is not None:
                return code
        raise MachineError(GONE)

    def pid(self, order: str) -> int | None:
        """Return the id of the process that runs `order`, while it runs."""
        return self._forker.pids.get(order)

    def _taken(self, line: bytes) -> _Forker:
        """Give an order to the forking process, or to a new one if it is gone; return the one that accepted it."""
        with self._lock:
            if not self._ended and self._forker.gone:
                self._forker.process.wait()
                self._forker = _Forker(self._command, self.environment)
            if self._ended:
                raise MachineError(GONE)
            with contextlib.suppress(BrokenPipeError):  # it is ending; the wait for the order notices
                self._forker.order(line)
            return self._forker


def run_alone(
    function: str, order: str, log: Path, environment: Mapping[str, str], cancelled: IsCancelled = lambda: False
) -> int:
    """Run one order in a new process, where there is none to fork from; return the exit code."""
    reported = False
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.runtime.parallel.zygote", "--alone", function, order],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **environment},
        )  # fmt: skip
    while True:
        try:
            return process.wait(CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            if not reported and cancelled():
                reported = True
                process.terminate()
