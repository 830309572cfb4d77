"""Progress of a training or an evaluation: a bar in a terminal, lines in a log, an artifact in Prefect's UI."""

import sys
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from threading import Thread
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from tqdm import tqdm

from tasks.runtime.pace import Pace, duration

UI_SECONDS = 3.0
LOG_SECONDS = 10.0
LAST_SECONDS = 2.0
SHOWN = ("loss", "grad_norm", "learning_rate")
Clock = Callable[[], float]


class RowProgress:
    """Reports rows as a model scores them: a bar, and a line every few seconds with rate and time left.

    Args:
        what: what is done with the rows, at the start of each line. info: called with each line.
    """

    def __init__(self, what: str, info: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self.what, self.info, self.clock = what, info, clock
        self._bar = tqdm(unit="row", desc=what, disable=not sys.stderr.isatty(), leave=False)
        self._pace, self._told = Pace("row"), clock()
        self._pace.mark(self._told, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def rows(self, done: int, total: int) -> None:
        """Report that `done` of `total` rows are done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        now = self.clock()
        self._pace.mark(now, done)
        if now - self._told > LOG_SECONDS and done < total:
            self._told = now
            self.info(f"{self.what}: {done:,} of {total:,} rows, {self._pace.line(total)}")


class Progress:
    """Reports steps, logged values and evaluations; a context manager.

    Args:
        total: optimizer steps in total. info: called with each line.
    """

    def __init__(self, total: int, info: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self.total, self.info, self.clock = total, info, clock
        self._bar = tqdm(total=total, unit="step", desc="train", disable=not sys.stderr.isatty(), leave=False)
        self._pace, self._evaluation = Pace("step"), 0.0
        self._evaluating: RowProgress | None = None
        self._artifact: UUID | None = None
        self._told_ui = 0.0
        self._told_log: float | None = None
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
        """Report that `done` of `total` steps are done."""
        self._bar.update(done - self._bar.n)
        now = self.clock()
        self._pace.mark(now, done)
        if done == total or now - self._told_ui > UI_SECONDS:
            self._told_ui = now
            self._update_ui(100 * done / max(total, 1))

    def rows(self, done: int, total: int) -> None:
        """Report that an evaluation has scored `done` of `total` rows."""
        self._evaluating = self._evaluating or RowProgress("evaluation", self.info, self.clock)
        self._evaluating.rows(done, total)
        if done >= total:
            self._evaluating.__exit__()
            self._evaluating = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show what the Trainer logged; loss lines at most every few seconds, evaluations and the summary always."""
        if evaluation := {name: value for name, value in values.items() if name.startswith("eval_") and _plain(name)}:
            seconds = values.get("eval_runtime", 0.0)
            self._evaluation += seconds
            self._pace.pause(seconds)
            self.info(f"step {step}/{self.total}: {_line(evaluation)} (in {duration(seconds)})")
        elif "train_runtime" in values:
            self._sum_up(step, values)
        elif shown := {name: values[name] for name in SHOWN if name in values}:
            postfix = {name: f"{value:.3g}" for name, value in shown.items() if name != "grad_norm"}
            self._bar.set_postfix(postfix)  # pyright: ignore[reportUnknownMemberType]
            self._loss(step, values.get("epoch"), shown)

    def _loss(self, step: int, epoch: float | None, shown: Mapping[str, float]) -> None:
        now, first = self.clock(), self._told_log is None
        if self._told_log is not None and now - self._told_log <= LOG_SECONDS:
            return
        self._told_log = now
        where = f"step {step}/{self.total}" + (f", epoch {epoch:.2f}" if epoch is not None else "")
        often = f" (shown every {LOG_SECONDS:.0f} s at most)" if first else ""
        text = "; ".join(part for part in (_line(shown), self._pace.line(self.total)) if part)
        self.info(f"{where}: {text}{often}")

    def _sum_up(self, step: int, values: Mapping[str, float]) -> None:
        took = max(values["train_runtime"] - self._evaluation, 0.0)
        loss = f"mean loss {values['train_loss']:.4g}; " if "train_loss" in values else ""
        self.info(f"step {step}/{self.total}: {loss}training took {duration(took)}, evaluation "
                 f"{duration(self._evaluation)}")  # fmt: skip

    def _update_ui(self, percent: float) -> None:
        """Update Prefect's UI in a thread: if the API is gone Prefect's client retries for a minute; no step may wait
        for it."""
        if "prefect" not in sys.modules:
            return
        from prefect.context import TaskRunContext

        if TaskRunContext.get() is None or self._ui_is_gone:
            return
        if percent >= 100:  # the last update is always sent; others are skipped while one is pending
            self._teller.join(LAST_SECONDS)
        if not self._teller.is_alive():
            self._teller = Thread(target=copy_context().run, args=(self._send_to_ui, percent), daemon=True)
            self._teller.start()

    def _send_to_ui(self, percent: float) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        try:
            if self._artifact is None:
                made: Any = create_progress_artifact(progress=percent, key="training", description="steps of stage 9")
                self._artifact = made
            else:
                update_progress_artifact(artifact_id=self._artifact, progress=percent)
        except Exception as error:  # noqa: BLE001 — whatever it is, watching must not end what is watched
            self._ui_is_gone = True
            self.info(f"Prefect's progress bar stops here: {type(error).__name__}: {error}")


def _plain(name: str) -> bool:
    return not name.endswith(("_runtime", "_per_second"))


def _line(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
