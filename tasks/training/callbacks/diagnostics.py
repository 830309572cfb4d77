"""Warnings from a training's logs: overfitting, a drop of a metric, a loss that does not fall."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState

DROP = 0.05
CLOCKS = ("runtime", "_runtime", "_per_second", "compilation_time")  # timings that the library logs with the metrics
ENOUGH = 20  # logged losses before warning that the loss does not fall


class Diagnostics:
    """Reads logs one by one; each call of `read` returns new warnings.

    Args:
        falling: metrics (without `eval_`) for which less is better.
    """

    def __init__(self, falling: Sequence[str] = ("loss",)) -> None:
        self.falling = set(falling)
        self.losses: list[float] = []
        self.evaluations: list[Mapping[str, float]] = []
        self._train_at: list[float] = []
        self._told_flat = False

    def read(self, logs: Mapping[str, Any]) -> list[str]:
        """Process the logs of one step."""
        found: list[str] = []
        if isinstance(loss := logs.get("loss"), int | float):
            self.losses.append(float(loss))
            found += self._flat()
        evaluation = {
            name.removeprefix("eval_"): float(value)
            for name, value in logs.items()
            if name.startswith("eval_") and not name.endswith(CLOCKS) and isinstance(value, int | float)
        }
        if "loss" in evaluation:
            found += [*self._dropped(evaluation), *self._overfitting(evaluation)]
        return found

    def _flat(self) -> list[str]:
        count = len(self.losses)
        if self._told_flat or count < ENOUGH:
            return []
        quarter = count // 4
        first, last = np.mean(self.losses[:quarter]), np.mean(self.losses[-quarter:])
        if not last >= first:
            return []
        self._told_flat = True
        return [f"the loss does not fall: {first:.4g} over the first {quarter} logs, {last:.4g} over the last; "
                "try another train.learning_rate, and check the labels"]  # fmt: skip

    def _dropped(self, evaluation: Mapping[str, float]) -> list[str]:
        before = self.evaluations[-1] if self.evaluations else {}
        return [
            f"{name} dropped from {before[name]:.4f} to {value:.4f} between two evaluations"
            for name, value in evaluation.items()
            if name in before and name not in self.falling and 0 <= before[name] <= 1 and before[name] - value >= DROP
        ]

    def _overfitting(self, evaluation: Mapping[str, float]) -> list[str]:
        self.evaluations.append(evaluation)
        self._train_at.append(float(np.mean(self.losses[-10:])) if self.losses else float("nan"))
        if len(self.evaluations) < 3:
            return []
        validation, train = [each["loss"] for each in self.evaluations[-3:]], self._train_at[-3:]
        if not (validation[0] < validation[1] < validation[2] and train[2] < train[0]):
            return []
        rose = ", ".join(f"{loss:.4g}" for loss in validation)
        return [f"overfitting: the validation loss rose twice ({rose}) while the training loss fell; keep the best "
                "with eval.best, or train less"]  # fmt: skip


class WarnOfDiagnostics(TrainerCallback):
    """Reports warnings to a listener; a resumed training first reads its history, so that no warning is repeated.

    Args:
        warn: called with each warning. falling: see `Diagnostics`.
    """

    def __init__(self, warn: Callable[[str], None], falling: Sequence[str]) -> None:
        self.warn, self.signs = warn, Diagnostics(falling)

    def on_train_begin(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        for logs in state.log_history:
            self.signs.read(logs)

    def on_log(
        self, args: object, state: TrainerState, control: object, logs: Mapping[str, Any] | None = None, **_: object
    ) -> None:
        for sign in self.signs.read(logs or {}):
            self.warn(f"step {state.global_step}: {sign}")
