"""A whole sweep is stopped with Ctrl-C, goes on, is killed, goes on: nothing is left over, nothing lost, same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
import yaml

from flows import grid
from tasks.artifacts.formats.manifest import MANIFEST
from tasks.artifacts.lease import is_held
from tasks.artifacts.store import Store
from tasks.results.finetuned import FineTuned
from tasks.runtime.sweeps import sweeps
from tests.flow.scenes import executed
from tests.served import HANG, until
from tests.tiny import make_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RATES = (1e-3, 1e-2)
STEPS = 240  # some seconds of training


@dataclass(frozen=True)
class Sweeping:
    """A `finetune grid` on its way, as a terminal starts it: the first of a group of processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def family(self) -> list[psutil.Process]:
        """Its processes: the API if it has one of its own, the one that forks cells, the cells."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def start(config: Mapping[str, Any], place: Path, api: str | None) -> Sweeping:
    """Start a sweep; without `api` it has one of its own, which goes with it."""
    (place / "sweep.yaml").write_text(yaml.safe_dump(dict(config)))
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_API_URL": api} if api else {"PREFECT_HOME": str(place / "home")}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    (place / "tmp").mkdir(exist_ok=True)
    log = place / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "grid", str(place / "sweep.yaml")], cwd=place, env=environment,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    return Sweeping(process, log)


def reached(store: Path) -> dict[str, int]:
    """The step of the newest whole checkpoint of each training, by key."""
    steps: dict[str, int] = {}
    for path in store.glob(f"work/s09_train/*/keep/checkpoint-*/{MANIFEST}"):
        key, step = path.parts[-4], int(path.parts[-2].rpartition("-")[2])
        steps[key] = max(step, steps.get(key, 0))
    return steps


def beyond(sweep: Sweeping, store: Path, before: Mapping[str, int]) -> None:
    """Wait until both trainings have come further than `before`."""

    def further() -> bool:
        assert sweep.process.poll() is None, sweep.said()
        return len(now := reached(store)) == 2 and all(step > before.get(key, 0) for key, step in now.items())

    until(further, sweep.said)


def gone(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that never go."""
    return psutil.wait_procs(family, HANG)[1]


def test_stopped_and_killed_and_nothing_is_lost(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sweep = {"grid": {"train.learning_rate": list(RATES)}, "parallel": 2}
    saving = {"train__save_strategy": "steps", "train__save_steps": 5, "train__eval_strategy": "no"}
    config = make_config(bert, rows, store, sweep=sweep, train__max_steps=STEPS, **saving)

    stopped = start(config, tmp_path, prefect_api)
    beyond(stopped, store, {})
    family = stopped.family()
    os.killpg(stopped.process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    assert stopped.process.wait(HANG) == 130, stopped.said()
    assert not gone(family)
    assert "run the same command again to resume" in stopped.said()
    assert remembered(store) == ["interrupted"]
    first = reached(store)
    assert all(0 < step < STEPS for step in first.values())

    killed = start(config, tmp_path, None)
    beyond(killed, store, first)
    family = killed.family()
    killed.process.kill()
    killed.process.wait()
    assert not gone(family)
    assert not list((tmp_path / "tmp").glob("finetune-cell-*"))
    assert remembered(store) == ["killed", "interrupted"]
    second = reached(store)
    assert all(first[key] < step < STEPS for key, step in second.items())
    slots = list((tmp_path / "tmp").glob("finetune-slots-*/*.lock"))
    assert slots and not any(map(is_held, slots))

    done = grid(config)
    assert remembered(store) == ["completed", "killed", "interrupted"]
    assert done.state == "completed" and done.built["s09_train"] == 2 and "s05_tokenize" not in done.built
    assert done.best is not None and done.best["overrides"] == {"train.learning_rate": RATES[0]}
    alone = executed(make_config(bert, rows, tmp_path / "alone", train__max_steps=STEPS, **saving),
                    f"train.learning_rate={RATES[0]}")  # fmt: skip
    assert done.best["metrics"] == alone.metrics
    assert digests(done.winner) == digests(alone)


def remembered(store: Path) -> list[str]:
    """The states of the store's sweeps, the newest first."""
    return [sweep["state"] for sweep in sweeps(Store(str(store)))]


def digests(done: FineTuned) -> dict[str, str]:
    """Of the trained weights."""
    members = done.artifacts["s09_train"].select("*.safetensors").members
    return {name: member.sha256 for name, member in members.items()}


def cells_in(api: str, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Flow runs of a sweep's cells by the learning rate they have, found by their store."""
    body = json.dumps({"flow_runs": {"tags": {"all_": ["cell"]}}, "limit": 200}).encode()
    with urlopen(Request(f"{api}/flow_runs/filter", body, {"Content-Type": "application/json"})) as response:
        found = json.load(response)
    ours = [each for each in found if each["parameters"]["store"] == config["store"]]
    return {each["parameters"]["train"]["learning_rate"]: each for each in ours}


def test_a_cell_that_is_cancelled_stops_alone(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = endless(bert, rows, tmp_path / "store")
    sweep = start(config, tmp_path, prefect_api)
    beyond(sweep, tmp_path / "store", {})
    cell = cells_in(prefect_api, config)[RATES[0]]
    state = json.dumps({"state": {"type": "CANCELLING"}}).encode()  # what the button does
    urlopen(Request(f"{prefect_api}/flow_runs/{cell['id']}/set_state", state, {"Content-Type": "application/json"}))
    until(lambda: cells_in(prefect_api, config)[RATES[0]]["state_name"] == "Cancelled", sweep.said)
    assert cells_in(prefect_api, config)[RATES[1]]["state_name"] == "Running"
    family = sweep.family()
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(HANG) == 130, sweep.said()
    assert not gone(family)
    ended = [(each["state_name"], each["state"]["message"]) for each in cells_in(prefect_api, config).values()]
    assert [name for name, _ in ended] == ["Cancelled"] * 2, (ended, sweep.said())


CLUSTERS = {
    "dask": "from distributed import LocalCluster\n"
    "if __name__ == '__main__':\n"
    "    made = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n"
    "    print(made.scheduler_address, flush=True)\n"
    "    input()\n",
    "ray": "import ray\n"
    "ray.init(num_cpus=2, include_dashboard=False)\n"
    "print(ray.get_runtime_context().gcs_address, flush=True)\n"
    "input()\n",
}


@pytest.fixture
def cluster(runner: str, prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster that is there already, in processes that outlive the sweep."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # a token of the one who started it would be needed
    pytest.importorskip(f"prefect_{runner}", reason=f"pip install 'finetune-flow[{runner}]'")
    (tmp_path / "cluster.py").write_text(CLUSTERS[runner])
    (tmp_path / "t").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "t"), "RAY_TMPDIR": "/tmp"}
    made = subprocess.Popen([sys.executable, str(tmp_path / "cluster.py")], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env=environment)  # fmt: skip
    assert made.stdin is not None and made.stdout is not None
    yield next(line for line in made.stdout if ":" in line).strip()
    made.stdin.close()
    made.wait(HANG)


def on_cluster(place: Path) -> list[psutil.Process]:
    """The processes of cells on the cluster above."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        command = " ".join(each.info["cmdline"] or [])
        if "tasks.runtime.parallel.zygote" in command and str(place / "t") in command:
            found.append(each)
    return found


@pytest.mark.parametrize("runner", CLUSTERS)
def test_ctrl_c_reaches_cells_on_a_cluster_that_goes_on(
    runner: str, cluster: str, prefect_api: str, bert: Path, rows: Path, tmp_path: Path
) -> None:
    config = endless(bert, rows, tmp_path / "store", runner=runner, address=cluster)
    sweep = start(config, tmp_path, prefect_api)
    beyond(sweep, tmp_path / "store", {})
    cells = on_cluster(tmp_path)
    assert len(cells) == 2
    sweep.process.send_signal(signal.SIGINT)
    assert sweep.process.wait(HANG) == 130, sweep.said()
    assert not gone(cells)
    assert {each["state_name"] for each in cells_in(prefect_api, config).values()} == {"Cancelled"}


def endless(bert: Path, rows: Path, store: Path, **more: Any) -> dict[str, Any]:
    """A sweep of two trainings that only a signal ends."""
    sweep = {"grid": {"train.learning_rate": list(RATES)}, "parallel": 2, **more}
    saving = {"train__save_strategy": "steps", "train__save_steps": 5, "train__eval_strategy": "no"}
    return make_config(bert, rows, store, sweep=sweep, train__max_steps=1_000_000, **saving)
