"""Adaptive search: Optuna's TPE proposes cells from the results so far.

Each study starts from the sweep's seed and gets the same results in the same order, so a rerun proposes the same
cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.config import ConfigError
from tasks.config.sections.sweep import Range, SweepConfig
from tasks.sweep.axes import Settings, rounded


class Search:
    """Proposes settings in batches.

    Raises:
        ConfigError: Optuna is not installed.
    """

    def __init__(self, sweep: SweepConfig, greater_is_better: bool) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("sweep.sampler: tpe needs Optuna; pip install 'finetune-flow[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # constant_liar: within a batch, unknown results count as bad, so that proposals differ.
        sampler = optuna.samplers.TPESampler(seed=sweep.seed, constant_liar=True)
        self.study = optuna.create_study(direction="maximize" if greater_is_better else "minimize", sampler=sampler)
        self.sweep, self.failed = sweep, optuna.trial.TrialState.FAIL
        self.trials: list[Any] = []

    def ask(self) -> list[Settings]:
        """Return the next batch of settings; empty after `n_trials`."""
        many = min(self.sweep.batch, (self.sweep.n_trials or 0) - len(self.study.trials))
        self.trials = [self.study.ask() for _ in range(many)]
        return [
            {name: _suggest(trial, name, axis) for name, axis in self.sweep.random.items()} for trial in self.trials
        ]

    def tell(self, scores: Sequence[float | None]) -> None:
        """Report the scores of the batch, in its order; None for a cell that failed."""
        for trial, score in zip(self.trials, scores, strict=True):
            if score is None:
                self.study.tell(trial, state=self.failed)
            else:
                self.study.tell(trial, score)


def _suggest(trial: Any, name: str, axis: Range | list[Any]) -> Any:
    if isinstance(axis, list):
        return axis[trial.suggest_categorical(name, list(range(len(axis))))]
    if axis.whole:
        return trial.suggest_int(name, int(axis.low), int(axis.high), step=int(axis.step or 1))
    found = trial.suggest_float(name, axis.low, axis.high, log=axis.log, step=axis.step)
    return float(f"{found:.12g}") if axis.step is not None else rounded(found, axis)
