"""One cell of a sweep, in its own process: `carry(order)` is called there and writes `outcome.json`.

A cell is an ordinary run of the `finetune` flow, except that it may pause at a rung of successive halving, and that the
sweep creates its flow run, so that Prefect shows it as a child of the sweep.
"""

import json
import os
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from tasks.artifacts.formats import json as jsons
from tasks.config import FinetuneError, Loaded, RunConfig
from tasks.execution.execute import CallerOptions, open_store, with_caller
from tasks.results.finetuned import FineTuned
from tasks.runtime.context import Paused, StageEntry
from tasks.runtime.log import warn
from tasks.runtime.parallel.reach import enter_folder
from tasks.runtime.parallel.slots import slot
from tasks.runtime.parallel.zygote import leave
from tasks.runtime.prefect_api import launch
from tasks.runtime.rung import TRAIN, reached_by_key, step_at
from tasks.runtime.secrets import redact

POINTS = 200  # kept of a learning curve; more cannot be told apart in a plot
FAILED, INTERRUPTED = 4, 130
REPORT_SECONDS = 15  # to report to a persistent API a cell whose sweep is gone


def run_cell(order: str) -> int:
    """Run the cell described by the file `order`; return the exit code of `finetune run`."""
    spec = json.loads(Path(order).read_text())
    outcome: dict[str, Any] = {"state": "failed", "metrics": {}, "stages": [], "run": None, "error": None,
                               "begun": False}  # fmt: skip
    started, code = time.monotonic(), FAILED
    try:
        enter_folder(spec["folder"])
        with slot(spec["slots"], lambda: warn("all slots of this machine are held; waiting")) as device:
            if device.startswith("cuda-"):
                os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda-")
            outcome["begun"] = True
            outcome |= _run_cell(spec, outcome["stages"])
        code = 0
    except FinetuneError as error:
        state = "interrupted" if error.exit_code == INTERRUPTED else "failed"
        outcome |= {"error": redact(str(error)), "kind": type(error).__name__, "state": state}
        code = error.exit_code
    except KeyboardInterrupt:
        outcome |= {"error": "interrupted", "state": "interrupted"}
    except Exception as error:  # noqa: BLE001 — any error fails this cell only
        traceback.print_exc()
        outcome["error"] = redact(f"{type(error).__name__}: {error}")
    if outcome["error"] and (here := socket.gethostname()) != spec["host"]:
        outcome["error"] = f"{here}: {outcome['error']}"
    outcome["seconds"] = round(time.monotonic() - started, 3)
    _write_outcome(spec, outcome)
    return code


def _write_outcome(spec: dict[str, Any], outcome: dict[str, Any]) -> None:
    """Write the cell's outcome; if the process that waits for it was killed, remove the folder instead."""
    place = Path(spec["outcome"])
    if not _has_parent(spec):
        shutil.rmtree(place.parent, ignore_errors=True)
        return
    temporary = place.with_suffix(".tmp")
    temporary.write_text(json.dumps(jsons.finite(outcome)))
    temporary.replace(place)


def _has_parent(spec: dict[str, Any]) -> bool:
    try:
        return psutil.Process(spec["awaited_by"]).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _run_cell(spec: dict[str, Any], stages: list[Any]) -> dict[str, Any]:
    loaded = Loaded(RunConfig.model_validate(spec["config"]), spec["origin"], ())

    def note(entry: StageEntry) -> None:
        stages.append(entry.__dict__)

    def ended(_: BaseException) -> None:
        # If the sweep was killed, its API is down or going down, and Prefect's client would retry for a minute.
        if not _has_parent(spec):
            if not launch.api_answers():
                _write_outcome(spec, {})
                leave(INTERRUPTED)
            timer = threading.Timer(REPORT_SECONDS, lambda: (_write_outcome(spec, {}), os._exit(INTERRUPTED)))
            timer.daemon = True
            timer.start()

    caller = CallerOptions(loaded.origin, listener=note, until=spec["until"], on_failure=ended,
                        overwrite=spec.get("overwrite", False))  # fmt: skip
    with with_caller(caller), launch.prefect_at_hand(lambda: True):
        done = _flow_run(loaded.config, spec.get("flow_run"))
    if isinstance(done, Paused):
        at = done.step, done.total
        return {"state": "paused", "metrics": done.metrics, "rung": at, "curve": _thinned(done.history)}
    outcome = {"state": "completed", "metrics": done.metrics, "run": done.run, "path": str(done.path or "") or None,
               "kept": done.kept, "intervals": done.intervals, "curve": _thinned(done.history)}  # fmt: skip
    return outcome | _earlier(done, loaded.config, spec["until"])


def _thinned(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Thin a curve to about POINTS points, including the last; all evaluations are kept."""
    every = -(-len(history) // POINTS)
    return [entry for at, entry in enumerate(history, 1) if (len(history) - at) % every == 0 or "eval_loss" in entry]


def _earlier(done: FineTuned, config: RunConfig, until: float | None) -> dict[str, Any]:
    """Return a finished cell's metrics at this rung, so that a rerun compares the same numbers as the first run."""
    total = done.arguments["steps"]["total"]
    if until is None:
        return {"rung": (total, total)}
    step = step_at(until, total)
    store = open_store(config.store)
    found = reached_by_key(store, done.artifacts[TRAIN].key, step)
    return {"rung": (total, total), "metrics_then": found["metrics"] if found else None}


def _flow_run(config: RunConfig, flow_run: str | None) -> FineTuned | Paused:
    from flows.pipeline import finetune as flow

    parameters = {name: getattr(config, name) for name in RunConfig.model_fields}
    if flow_run is None:
        return flow(**parameters)  # type: ignore[return-value] — Prefect's overloads
    from prefect.flow_engine import load_flow_run, run_flow

    return run_flow(flow, flow_run=load_flow_run(UUID(flow_run)), parameters=parameters)  # type: ignore[return-value]
