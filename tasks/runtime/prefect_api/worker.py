"""Run a Prefect worker as a child process: it ends with its parent, and its runs are stopped before it exits.

Prefect's own worker kills its runs when it is stopped, and the server shows them as Running until they time out.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

from tasks.runtime.prefect_api.serving import POOL, environment_for

STEP_SECONDS = 120.0
PARENT_DEATH = 1  # Linux: prctl(PR_SET_PDEATHSIG, …)


def work(url: str, limit: int) -> int:
    """Run a worker until Ctrl-C (or SIGTERM); return its exit code.

    Args:
        limit: concurrent runs.
    """
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    pace = {"PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "2")}  # default: 10
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    worker = subprocess.Popen(
        [*command, "--limit", str(limit)], env={**os.environ, **environment_for(url), **pace},
        stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_exit_with_parent,
    )  # fmt: skip
    try:
        return worker.wait()
    except KeyboardInterrupt:
        print("stopping: runs finish their step and save a checkpoint; Ctrl-C again ends them at once", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            _stop(runs_of(worker.pid))
        worker.send_signal(signal.SIGINT)
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
        return 0


def runs_of(worker: int) -> list[psutil.Process]:
    """Return the processes of a worker's runs."""
    try:
        children = psutil.Process(worker).children(recursive=True)
        return [each for each in children if "prefect.engine" in each.cmdline()]
    except psutil.NoSuchProcess:
        return []


def _stop(runs: Sequence[psutil.Process]) -> None:
    for run in runs:
        run.terminate()
    psutil.wait_procs(runs, STEP_SECONDS)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _exit_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it by default
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGKILL)
