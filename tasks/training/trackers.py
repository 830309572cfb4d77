"""Experiment trackers (`train.report_to`): transformers' own callbacks, none of which can end a training.

A run of a tracker has the identity of the training, not of the process: a training that resumes continues it where the
tracker can do that. It is open until the metrics of the test rows are known.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

TAG = "finetune.training"


@dataclass(frozen=True)
class TrackedRun:
    """A training, as trackers see it.

    Attributes:
        id: the same when the training resumes. name: for people, also unique. config: the resolved config.
        logs: the folder of TensorBoard's files, with a folder for each run.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    logs: Path


@dataclass(frozen=True)
class Kind:
    """What a tracker needs besides transformers' callback.

    Attributes:
        start: (callback, run, steps done) -> what closes the tracker's run, if the callback does not. describe: adds
            the config to the run. ends_late: whether the callback closes the run at the end of training; it is then
            told of that end when the metrics of the test rows are known.
    """

    start: Callable[[Any, TrackedRun, int], Callable[[], object] | None] = lambda callback, run, step: None
    describe: Callable[[Any, TrackedRun], object] = lambda callback, run: None
    ends_late: bool = False


class Tracker:
    """Passes the Trainer's events on to a tracker's callback; after the first failure it warns, and passes on no more.

    Args:
        kind: transformers' name of it.
    """

    def __init__(self, kind: str, run: TrackedRun, warn: Callable[[str], None]) -> None:
        self.name, self.run, self.warn = kind, run, warn
        self._kind = KINDS.get(kind, Kind())
        self._callback: Any = None
        self._failed = False
        self._close: Callable[[], object] | None = None
        self._at: tuple[Any, ...] = ()  # arguments, state and control of the Trainer

    def __getattr__(self, event: str) -> Callable[..., None]:
        if not hasattr(TrainerCallback, event):
            raise AttributeError(event)

        def pass_on(*at: Any, **named: Any) -> None:
            if event == "on_train_begin":
                self._attempt(lambda: self._open(at, named))
            elif self._callback is not None and not (event == "on_train_end" and self._kind.ends_late):
                self._attempt(lambda: getattr(self._callback, event)(*at, **named))

        return pass_on

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Report the metrics of the test rows, if there are any, and close the tracker's run."""
        if self._callback is not None and metrics:
            self._attempt(lambda: self._callback.on_log(*self._at, logs=dict(metrics)))
        if self._close is not None:
            self._attempt(self._close)

    def _open(self, at: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._at, callback = at, INTEGRATION_TO_CALLBACK[self.name]()
        self._close = self._kind.start(callback, self.run, at[1].global_step)
        if self._kind.ends_late:
            self._close = partial(callback.on_train_end, *at)
        callback.on_train_begin(*at, **named)
        self._kind.describe(callback, self.run)
        self._callback = callback

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                call()
        except Exception as error:  # noqa: BLE001 — whatever it is, it must not end a training
            self._callback = None
            if not self._failed:
                self.warn(f"train.report_to: {self.name} failed and gets nothing more of this run: "
                          f"{type(error).__name__}: {error}")  # fmt: skip
            self._failed = True


def trackers(report_to: str | list[str] | None, run: TrackedRun, warn: Callable[[str], None]) -> list[Tracker]:
    """Return a tracker for each name; `all` means those that are installed, `none` none."""
    names = [report_to] if isinstance(report_to, str) else report_to or []
    if names == ["all"]:
        names = get_available_reporting_integrations()
    return [Tracker(name, run, warn) for name in names if name != "none"]


def _start_tensorboard(callback: Any, run: TrackedRun, step: int) -> None:
    callback.logging_dir = str(run.logs / re.sub(r"[^\w.=-]+", "-", run.name))
    # what a killed process logged after its last checkpoint is logged again
    callback.tb_writer = callback._SummaryWriter(log_dir=callback.logging_dir, purge_step=step + 1)


def _start_wandb(callback: Any, run: TrackedRun, step: int) -> Callable[[], object] | None:
    wandb = callback._wandb
    if wandb.run is not None:  # the caller's, who ends it
        return None
    wandb.init(project=os.environ.get("WANDB_PROJECT", "huggingface"), name=run.name, id=run.id, resume="allow")
    return wandb.finish


def _start_mlflow(callback: Any, run: TrackedRun, step: int) -> Callable[[], object] | None:
    mlflow = callback._ml_flow
    if mlflow.active_run() is not None:  # the caller's, who ends it
        return None
    if experiment := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        mlflow.set_experiment(experiment)
    query = f"tags.`{TAG}` = '{run.id}'"
    before = mlflow.search_runs(filter_string=query, max_results=1, output_format="list") if step else []
    mlflow.start_run(run_id=before[0].info.run_id if before else None, run_name=run.name, tags={TAG: run.id})
    return mlflow.end_run


KINDS: Mapping[str, Kind] = {
    "tensorboard": Kind(_start_tensorboard, lambda callback, run: callback.tb_writer.add_text(
        "config", f"```json\n{json.dumps(run.config, indent=1)}\n```"), ends_late=True),
    "wandb": Kind(_start_wandb, lambda callback, run: callback._wandb.config.update(
        {"finetune": run.config}, allow_val_change=True)),
    "mlflow": Kind(_start_mlflow, lambda callback, run: callback._ml_flow.log_dict(
        run.config, "config.resolved.json")),
    "trackio": Kind(describe=lambda callback, run: callback._trackio.config.update({"finetune": run.config}),
                    ends_late=True),
}  # fmt: skip
