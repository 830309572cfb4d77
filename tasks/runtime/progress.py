"""Where a training stands, for whoever watches: a bar in a terminal, lines in a log, an artifact in Prefect's UI."""

import sys
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from threading import Thread
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from tqdm import tqdm

UI_SECONDS = 3.0
LOG_SECONDS = 10.0
LAST_SECONDS = 2.0
SHOWN = ("loss", "grad_norm", "learning_rate")


class Progress:
    """Tells of steps and logged values as a context manager.

    Args:
        total: optimizer steps in all. say: where a line goes.
    """

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.say = total, say
        self._bar = tqdm(total=total, unit="step", desc="train", disable=not sys.stderr.isatty(), leave=False)
        self._artifact: UUID | None = None
        self._told_ui = self._told_log = 0.0
        self._ui_is_gone = False
        self._teller = Thread()
        self._teller.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is None:
            self._teller.join(LAST_SECONDS)

    def step(self, done: int, total: int) -> None:
        """Note that `done` of `total` steps are done."""
        self._bar.update(done - self._bar.n)
        now = time.monotonic()
        if done == total or now - self._told_ui > UI_SECONDS:
            self._told_ui = now
            self._tell_ui(100 * done / max(total, 1))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show what the Trainer logged; loss lines at most every few seconds, evaluations always."""
        evaluation = {name: value for name, value in values.items() if name.startswith("eval_") and _plain(name)}
        if evaluation:
            self.say(f"step {step}/{self.total}: {_line(evaluation)}")
            return
        shown = {name: values[name] for name in SHOWN if name in values}
        if not shown:
            return
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items() if name != "grad_norm"})
        now = time.monotonic()
        if now - self._told_log > LOG_SECONDS:
            self._told_log = now
            self.say(f"step {step}/{self.total}: {_line(shown)}")

    def _tell_ui(self, percent: float) -> None:
        """Beside the training: where the API is gone Prefect's client tries for a minute; no step may wait for it."""
        if "prefect" not in sys.modules:
            return
        from prefect.context import TaskRunContext

        if TaskRunContext.get() is None or self._ui_is_gone:
            return
        if percent >= 100:  # the last word is said; those before are skipped while one is on its way
            self._teller.join(LAST_SECONDS)
        if not self._teller.is_alive():
            self._teller = Thread(target=copy_context().run, args=(self._tell, percent), daemon=True)
            self._teller.start()

    def _tell(self, percent: float) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        try:
            if self._artifact is None:
                made: Any = create_progress_artifact(progress=percent, key="training", description="steps of stage 9")
                self._artifact = made
            else:
                update_progress_artifact(artifact_id=self._artifact, progress=percent)
        except Exception as error:  # noqa: BLE001 — whatever it is, watching must not end what is watched
            self._ui_is_gone = True
            self.say(f"Prefect's progress bar stops here: {type(error).__name__}: {error}")


def _plain(name: str) -> bool:
    return not name.endswith(("_runtime", "_per_second"))


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
