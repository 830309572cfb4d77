"""A warm parent: a process that has imported all that is slow to import, started no thread, and forks a child for
every scene. A scene is a function named `module:function`; its keyword arguments and its result are JSON.

A child may die in any way: the parent only waits for it. It is shared by all proofs of one pytest process.
"""

import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SLOW = (  # to import
    "peft", "sklearn.metrics", "scipy.stats", "sacrebleu", "rouge_score.rouge_scorer", "flows.pipeline", "flows.api",
    "flows.inference", "tasks.inference.predict", "tasks.training.run",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a scene ended: `code` is its exit status, or minus the signal that killed it; `value` what it returned."""

    code: int
    value: Any
    log: str

    @property
    def result(self) -> Any:
        """The value of a scene that must have ended well."""
        assert self.code == 0, self.log
        return self.value


@dataclass(frozen=True)
class Child:
    """A scene on its way."""

    pid: int
    out: Path
    parent: "Warm"

    def wait(self) -> Ended:
        """Wait for its end."""
        status = self.parent.ask({"wait": self.pid})
        code = os.waitstatus_to_exitcode(int(status))
        value = json.loads(self.out.read_text()) if self.out.exists() else None
        return Ended(code, value, self.out.with_suffix(".log").read_text(errors="replace")[-4000:])


class Warm:
    """The parent, as the tests see it."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="warm-")
        quiet = {
            "PREFECT_HOME": f"{self.folder.name}/prefect",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | quiet
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill.warm"], cwd=ROOT, env=environment | {"DO_NOT_TRACK": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.count = 0

    def start(self, scene: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Child:
        """Fork a child that plays `scene`."""
        self.count += 1
        out = Path(self.folder.name) / f"{self.count}.json"
        order = {"scene": scene, "arguments": arguments, "out": str(out), "environment": dict(environment or {})}
        return Child(self.ask(order), out, self)

    def play(self, scene: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Ended:
        """Play a scene to its end."""
        return self.start(scene, environment, **arguments).wait()

    def ask(self, order: Mapping[str, Any]) -> int:
        """Send an order, return the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@functools.cache
def warm_parent() -> Warm:
    """The one parent of this process; it ends with us, since its orders end."""
    return Warm()


def _serve() -> None:
    from tasks.evaluation.plots import curves
    from tasks.models.device import untouched

    with untouched():
        for slow in SLOW:
            importlib.import_module(slow)
    curves([{"step": step, "loss": 1.0} for step in (1, 2)], [])  # matplotlib, without its list of fonts
    gc.freeze()  # what is imported is no rubbish: a child need not look through it, nor copy its pages to do so
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(os.waitpid(order["wait"], 0)[1], flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _play(order)
        print(pid, flush=True)


def _play(order: Mapping[str, Any]) -> None:
    code, out = 1, Path(order["out"])
    try:
        log = os.open(out.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.environ.update(order["environment"])
        module, _, name = order["scene"].partition(":")
        value = getattr(importlib.import_module(module), name)(**order["arguments"])
        half = out.with_suffix(".half")
        half.write_text(json.dumps(value))
        half.replace(out)
        code = 0
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # nothing of the parent's may be closed or flushed by a child


if __name__ == "__main__":
    _serve()
