"""Processes for the cells of a sweep: each its own, so that one that dies takes nobody along."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tasks.config.errors import MachineError

KILLED = -9


class Processes:
    """Runs `function(order)` in processes forked from one that has imported `modules`; a context manager.

    Args:
        function: `package.module:function`, called with a string; what it returns is the exit code.
    """

    def __init__(self, function: str, modules: list[str], environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._command = [sys.executable, "-m", "tasks.runtime.zygote", function, *modules]
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._pids: dict[str, int] = {}
        self._codes: dict[int, int] = {}
        self._gone = False

    def __enter__(self) -> Self:
        # A session of its own: Ctrl-C in a terminal must reach the sweep alone, which then ends its cells in order.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._process.wait()

    def end(self) -> None:
        """Ask all processes to stop, which lets a training save a checkpoint; no order is taken any more."""
        with contextlib.suppress(BrokenPipeError), self._lock:  # it is gone already
            self._write().close()

    def kill(self) -> None:
        """End all of them on the spot."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def run(self, order: str, log: Path, environment: Mapping[str, str]) -> int:
        """Carry an order out and wait; return the exit code, negative if a signal killed it.

        Raises:
            MachineError: the process that forks is gone.
        """
        line = json.dumps({"order": order, "log": str(log), "environment": {**self.environment, **environment}})
        try:
            with self._lock:
                self._write().write(line.encode() + b"\n")
                self._write().flush()
        except (BrokenPipeError, ValueError) as error:
            raise MachineError("the process that starts cells is gone") from error
        with self._changed:
            while not self._gone:
                pid = self._pids.get(order)
                if pid is not None and pid in self._codes:
                    del self._pids[order]
                    return self._codes.pop(pid)
                self._changed.wait()
        return KILLED

    def pid(self, order: str) -> int | None:
        """The process that carries `order` out, while it does."""
        return self._pids.get(order)

    def _write(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._changed:
                if "order" in said:
                    self._pids[said["order"]] = said["pid"]
                elif "code" in said:
                    self._codes[said["pid"]] = said["code"]
                self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()


def run_alone(function: str, order: str, log: Path, environment: Mapping[str, str]) -> int:
    """Carry one order out in a process started from scratch, where nothing is there to fork from; the exit code."""
    with log.open("ab") as file:
        done = subprocess.run(
            [sys.executable, "-m", "tasks.runtime.zygote", "--alone", function, order], check=False,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **environment},
        )  # fmt: skip
    return done.returncode
