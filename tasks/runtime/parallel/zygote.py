"""A process that imports once and forks: `python -m tasks.runtime.parallel.zygote package.module:function MODULE …`.

A line on stdin is an order, `{"order": …, "log": path, "environment": {…}}`: a child is forked that calls
`function(order)` with its output in the log. Lines on stdout answer `{"order", "pid"}` and, when the child is gone,
`{"pid", "code"}` (negative: killed by that signal). When stdin ends (the process that gave orders has exited) the
children are asked to stop, which lets a training save a checkpoint, and waited for.

Starting a training costs ten seconds of imports, forking one nothing. A fork is only safe from a process that holds no
GPU and has no threads (OpenBLAS and jemalloc handle forks of theirs; OpenMP's are never started, as nothing is computed
here); if an import changed that, children are started from scratch.
"""

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from tasks.models import device

GRACE_SECONDS = 60.0
LIKELY_VICTIM = "500"  # of 1000: when memory runs out, the kernel kills a cell before the whole sweep


def main() -> None:
    """Serve orders until stdin ends."""
    function, *modules = sys.argv[1:]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # see launch.import_heavy
    with device.untouched():
        for module in modules:
            importlib.import_module(module)
    gc.freeze()  # excludes what is imported from garbage collection, which would copy its pages in every fork
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that gives orders
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm)
    signal.signal(signal.SIGCHLD, _wake)
    children: set[int] = set()
    rest = b""
    _answer({"ready": True, "forks": _can_fork()})
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _reap(children)
        if 0 in ready:
            received = os.read(0, 65536)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = _start(function, order, (wake, alarm))
                children.add(pid)
                _answer({"order": order["order"], "pid": pid})
    _end(children)


def _can_fork() -> bool:
    torch = sys.modules.get("torch")
    return threading.active_count() == 1 and not (torch and torch.cuda.is_initialized())


def _start(function: str, order: dict[str, Any], ours: tuple[int, int]) -> int:
    whole = _can_fork()
    pid = os.fork()
    if not pid:
        _become(function, order, ours, whole)
    return pid


def _become(function: str, order: dict[str, Any], ours: tuple[int, int], whole: bool) -> NoReturn:
    """In the child: set up signals and output; unless `whole`, replace it by a new process."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor in ours:
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(order["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    for descriptor, standard in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    os.environ.update(order["environment"])
    if not whole:
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, "--alone", function, order["order"]])
    _carry(function, order["order"])


def _carry(function: str, order: str) -> NoReturn:
    """In the child: call the function, and exit without running what the parent had registered."""
    threading.Thread(target=_stop_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(LIKELY_VICTIM)
    module, _, name = function.partition(":")
    code = 1
    try:
        code = getattr(importlib.import_module(module), name)(order)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        logging.getLogger("finetune").exception("the cell failed")
        raise
    finally:
        leave(code)


def _wake(*_: object) -> None:
    """A handler there must be, so that the signal is written into the pipe."""


def leave(code: int) -> NoReturn:
    """Exit now, running exit handlers and flushing output, without the interpreter's teardown."""
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _reap(children: set[int]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children.discard(pid)
            _answer({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _end(children: set[int]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in children:
            os.kill(pid, number)
        while children and time.monotonic() < deadline:
            _reap(children)
            time.sleep(0.05)


def _answer(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # no reader is left; running children are still stopped properly
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    if sys.argv[1] == "--alone":
        _carry(*sys.argv[2:])
    main()
