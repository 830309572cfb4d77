"""`finetune serve` for tests: a server and a worker of its own, and a few words to talk to them with."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from tasks.artifacts.formats.manifest import MANIFEST
from tasks.artifacts.record import Record
from tasks.runtime.prefect_api.worker import runs_of
from tests.tiny import make_config

ROOT = Path(__file__).parents[1]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
HANG = 600.0  # seconds
SILENCE = 50  # seconds until a silent run is Crashed, here; 90 as shipped


class Refused(Exception):
    """The API refuses a request; its words."""


@dataclass
class Served:
    """A running `finetune serve`."""

    place: Path
    url: str
    environment: Mapping[str, str]
    at_once: int = 3
    process: subprocess.Popen[bytes] | None = None
    ids: dict[str, str] = field(default_factory=dict)

    def call(self, path: str, body: Any = None, method: str | None = None, again: bool = True) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=30) as response:
                text = response.read()
                return json.loads(text) if text else None
        except HTTPError as error:
            if error.code == 503:  # SQLite was busy; Prefect's own clients ask again, too
                time.sleep(0.2)
                return self.call(path, body, method)
            raise Refused(f"{error.code}: {error.read().decode()}") from None
        except TimeoutError:  # a busy server has been seen to say nothing to anybody for a minute
            if body is None and method is None and again:
                return self.call(path, again=False)
            raise

    def serve(self) -> None:
        """Start the command; return once its worker works."""
        log = (self.place / "serve.log").open("ab")
        before = self.log().count("started!")
        words = ["--port", "0", "--limit", str(self.at_once), "--deployments", str(self.place / "deployments")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", *words], cwd=self.place, env=dict(self.environment),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        until(lambda: self.log().count("started!") > before or self.process.poll() is not None, self.log)
        assert self.process.poll() is None, self.log()
        self.url = self.server()["url"]
        self.ids = {each["name"]: each["id"] for each in self.call("/deployments/filter", {})}

    def server(self) -> dict[str, Any]:
        """The `url` and `pid` of the local server that the command started."""
        return json.loads((self.place / "cache" / "finetune-flow" / "server" / "server.json").read_text())

    def log(self) -> str:
        path = self.place / "serve.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def create(self, parameters: Mapping[str, Any], deployment: str = "finetune") -> str:
        """A run of a deployment, as the form makes it."""
        body = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        return self.call(f"/deployments/{self.ids[deployment]}/create_flow_run", body)["id"]

    def state(self, run: str) -> tuple[str, str]:
        state = self.call(f"/flow_runs/{run}")["state"]
        return state["name"], state["message"] or ""

    def states(self, run: str) -> list[str]:
        """All states of a run so far, the first one first."""
        found = self.call(f"/flow_run_states/?flow_run_id={run}")
        return [each["name"] for each in sorted(found, key=lambda each: each["timestamp"])]

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first."""
        return self.call("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 200})

    def end(self, run: str) -> str:
        """Wait for a run's end; return its state's name."""
        until(lambda: self.call(f"/flow_runs/{run}")["state_type"] in FINAL, self.log)
        return self.state(run)[0]

    def tasks(self, run: str) -> dict[str, str]:
        """State by stage of the run's last attempt; the server notes them some seconds behind the run."""
        body = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}

        def noted() -> dict[str, str] | None:
            found = self.call("/task_runs/filter", body)
            states = {each["name"].rpartition("-")[0]: each["state_name"] for each in found}
            return states if len(states) == 12 and not {"Pending", "Running"} & set(states.values()) else None

        return until(noted, self.log)

    def ended_task(self, run: str, stage: str) -> str:
        """The state in which a stage of a run ended."""

        def ended() -> str | None:
            found = self.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
            states = [each for each in found if each["name"].startswith(stage) and each["state_type"] in FINAL]
            return states[-1]["state_name"] if states else None

        return until(ended, self.log)

    def cells(self, run: str) -> list[dict[str, Any]]:
        """The runs of a sweep's cells."""
        return self.call("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})

    def lines(self, *runs: str) -> list[str]:
        """What runs said."""
        found = self.call("/logs/filter", {"logs": {"flow_run_id": {"any_": list(runs)}}, "limit": 200})
        return [each["message"] for each in found]

    def artifact(self, run: str, key: str) -> dict[str, Any]:
        """What a run shows under `key`: its `id`, and the `data`."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
        [found] = self.call("/artifacts/filter", wanted)
        return found

    def engine(self) -> psutil.Process:
        """The process of the run that is at it."""
        assert self.process is not None
        return runs_of(self.process.pid)[-1]

    def free_places(self, deployment: str = "finetune") -> int:
        limit = self.call(f"/deployments/{self.ids[deployment]}")["global_concurrency_limit"]
        return limit["limit"] - limit["active_slots"]

    def stop(self) -> int:
        """Ctrl-C; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(HANG)


def until(what: Callable[[], Any], said: Callable[[], str] = lambda: "") -> Any:
    """Wait until `what()` is true; return it. Only what hangs, on the slowest machine, meets the bound."""
    deadline = time.monotonic() + HANG
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {HANG} s\n{said()[-3000:]}"
        time.sleep(0.1)
    return found


@contextmanager
def serving(place: Path, at_once: int = 3, **more: str) -> Iterator[Served]:
    """`finetune serve` in a folder of its own, with the project's deployments; only silence is shorter."""
    shutil.copytree(ROOT / "deployments", place / "deployments")
    automations = place / "deployments" / "automations.yaml"
    text = automations.read_text()
    assert "within: 90" in text
    automations.write_text(text.replace("within: 90", f"within: {SILENCE}"))
    dropped = ("PREFECT_", "FINETUNE_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment |= {
        "XDG_CACHE_HOME": str(place / "cache"), "FINETUNE_STORE": str(place / "store"),
        "PREFECT_HOME": str(place / "prefect"), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **more,
    }  # fmt: skip
    served = Served(place, "", environment, at_once)
    try:
        served.serve()
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                served.stop()
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(served.server()["pid"], signal.SIGKILL)


def parameters(bert: Path, rows: Path, store: Path, steps: int = 6, **more: Any) -> dict[str, Any]:
    """Parameters of a run: `steps` updates, a checkpoint every ten."""
    saving = {"train__save_strategy": "steps", "train__save_steps": 10, "train__eval_strategy": "no"}
    return make_config(bert, rows, store, train__max_steps=steps, **saving, **more)


def in_training(store: Path) -> Path:
    """Wait until a training has a whole checkpoint; return the newest one's folder."""

    def whole() -> Path | None:
        found = [path.parent for path in store.glob(f"work/s09_train/*/keep/checkpoint-*/{MANIFEST}")]
        return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)

    return until(whole)


def weights(store: Path) -> dict[str, str]:
    """The digests of the last trained weights in a store."""
    newest = max((store / "records" / "s09_train").glob("*.json"), key=lambda path: path.stat().st_mtime)
    members = Record.unseal(newest.read_bytes()).members
    return {name: member.sha256 for name, member in members.items() if name.endswith(".safetensors")}
