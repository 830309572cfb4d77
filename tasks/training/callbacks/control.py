"""Callbacks that decide when to save and stop, and that report steps."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback, TrainerControl, TrainerState

from tasks.config.errors import Signalled

if TYPE_CHECKING:
    from tasks.training.trainer import FinetuneTrainer

SHARE_FOR_SAVING = 0.05


class Cadence(TrainerCallback):
    """Decides when to save a checkpoint. It does not affect results, so it is not in a key.

    Args:
        every_minutes: between checkpoints saved by time; lengthened so that saving takes less than 5 % of the time.
            0 disables saving by time.
        strategy: `no`, `steps`, `epoch` or `best`, in addition. every_steps: for `steps`.
        resumed: the checkpoint that this training resumes from.
    """

    def __init__(self, every_minutes: float, strategy: str, every_steps: int, resumed: Path | None) -> None:
        self.every_minutes, self.strategy, self.every_steps = every_minutes, strategy, every_steps
        self.resumed = resumed
        self.trainer: FinetuneTrainer | None = None
        self._last = time.monotonic()
        self._pending = False

    def on_epoch_begin(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        assert self.trainer is not None
        self.trainer.enter_epoch(self.resumed)
        self.resumed = None

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        by_steps = self.strategy == "steps" and state.global_step % self.every_steps == 0
        if control.should_save or by_steps or self._is_time():
            # The evaluation at the end of an epoch comes after its last step. Resuming from a checkpoint in between
            # would skip it, so a checkpoint due at an epoch's last step is saved after the evaluation.
            closes = float(state.epoch).is_integer()
            control.should_save, self._pending = not closes, closes

    def on_epoch_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self._pending or self.strategy == "epoch":
            control.should_save, self._pending = True, False

    def on_save(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._last = time.monotonic()

    def _is_time(self) -> bool:
        assert self.trainer is not None
        wait = max(self.every_minutes * 60, self.trainer.seconds_saving / SHARE_FOR_SAVING)
        return self.every_minutes > 0 and time.monotonic() - self._last >= wait


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM: finish the step, save, stop; an evaluation is aborted, and repeated when the training
    resumes. A second SIGINT goes to the previously installed handler, so that a second Ctrl-C ends the training at
    once; further SIGTERMs, which may come from several senders, change nothing.

    Attributes:
        caught: the received signal. stopped: the same, once it has stopped the training; a signal after the last
            evaluation does not, as the training is complete.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.stopped: int | None = None
        self._evaluating = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals while a training runs in the main thread (Python delivers none to other threads)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: object) -> None:
            self.caught = number
            if number == signal.SIGINT:
                signal.signal(number, before[number])
            self._abort_evaluation()

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, a signal does not wait for the end of a step.

        Raises:
            Signalled: a signal arrived within or before.
        """
        self._evaluating = True
        try:
            self._abort_evaluation()
            yield
        finally:
            self._evaluating = False

    def _abort_evaluation(self) -> None:
        if self._evaluating and self.caught is not None:
            self.stopped = self.caught
            raise Signalled(self.caught)

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.caught is not None:
            self.stopped = self.caught
            control.should_training_stop = True
            control.should_save = control.should_save or state.global_step < state.max_steps

    def on_epoch_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.stopped is None:
            return
        if state.global_step < state.max_steps:
            _keep_epoch_open(state, control)
        else:
            control.should_save = True  # at the last step, once it is known whether an evaluation is due


class PauseAt(TrainerCallback):
    """Saves and stops after a given step; with None, or the last step, does nothing."""

    def __init__(self, step: int | None) -> None:
        self.step, self.reached = step, False

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.step is not None and self.step <= state.global_step < state.max_steps:
            self.reached = True
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.reached:
            _keep_epoch_open(state, control)


def _keep_epoch_open(state: TrainerState, control: TrainerControl) -> None:
    """Keep the library from ending the epoch, with its evaluation, when a training stops in the middle of one. If that
    evaluation were the best so far, its checkpoint would replace the one just saved, and a resumed training would have
    an evaluation and random numbers that an uninterrupted one does not have."""
    if not float(state.epoch).is_integer():
        control.should_evaluate = control.should_log = False


class Watch(TrainerCallback):
    """Reports each step and everything logged to a listener.

    Args:
        on_step: (steps done, total steps). on_log: (steps done, the logged values).
    """

    def __init__(self, on_step: Callable[[int, int], None], on_log: Callable[[int, Mapping[str, float]], None]) -> None:
        self.told_step, self.told_log = on_step, on_log

    def on_train_begin(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.told_step(state.global_step, state.max_steps)

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self.told_step(state.global_step, state.max_steps)

    def on_log(
        self, args: object, state: TrainerState, control: object, logs: Mapping[str, float] | None = None, **_: object
    ) -> None:
        if logs:
            self.told_log(state.global_step, logs)
