"""Trackers of the run that trains: created by stage 9, closed when the run ends."""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config.cache import cache_home
from tasks.config.json_types import JsonObject
from tasks.runtime.build import Build
from tasks.runtime.context import RunContext, current
from tasks.runtime.log import info
from tasks.runtime.secrets import redact

if TYPE_CHECKING:
    from tasks.training.trackers import Tracker


def tracking(build: Build, arguments: Mapping[str, Any]) -> "tuple[JsonObject, list[Tracker]]":
    """Return training arguments for a Trainer that reports to nothing itself, and the trackers to report to."""
    from tasks.training.trackers import TrackedRun, trackers

    context = current()
    config: JsonObject = json.loads(redact(json.dumps(context.summary.get("config") or {})))
    title = arguments.get("run_name") or context.summary.get("name") or config.get("task") or "finetune"
    logs = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or cache_home() / "tensorboard").expanduser()
    run = TrackedRun(build.key[:16], f"{title}-{build.key[:8]}", config, logs)
    found = trackers(arguments.get("report_to"), run, lambda line: context.note(redact(line)))
    if not found:
        return dict(arguments), []
    if any(tracker.name == "tensorboard" for tracker in found):
        info(f"tensorboard --logdir {logs} shows this training as {run.name}")
    context.trackers += found
    return {**arguments, "report_to": "none", "run_name": run.name}, found


@contextmanager
def reporting(context: RunContext) -> Generator[None]:
    """Within, a run may use trackers; at its end they get the metrics of the test rows, if it got that far."""
    try:
        yield
    finally:
        metrics = {name: value for name, value in context.summary.get("metrics", {}).items()
                   if name.startswith("test_") and value is not None}  # fmt: skip
        for tracker in context.trackers:
            tracker.finish(metrics)
    config: JsonObject = context.summary.get("config") or {}
    train: JsonObject = config.get("train") or {}
    cached = any(entry.stage == "s09_train" and entry.state == "cached" for entry in context.entries)
    if cached and train.get("report_to") not in (None, "none", [], ["none"]):
        info("train.report_to: nothing was trained, as the result is cached; so nothing is reported")
