"""What happens between steps: when to save, when to stop, what is reported."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from tasks.config.errors import Signalled

if TYPE_CHECKING:
    from tasks.training.trainer import FinetuneTrainer

SHARE_FOR_SAVING = 0.05


class Cadence(TrainerCallback):
    """Decides when a checkpoint is taken. It never changes what is computed, so it is in no key.

    Args:
        every_minutes: between checkpoints taken by the clock; stretched so that saving stays under a twentieth of the
            time. 0 turns the clock off.
        strategy: `no`, `steps`, `epoch` or `best`, besides the clock. every_steps: for `steps`.
        resumed: the checkpoint this training goes on from.
    """

    def __init__(self, every_minutes: float, strategy: str, every_steps: int, resumed: Path | None) -> None:
        self.every_minutes, self.strategy, self.every_steps = every_minutes, strategy, every_steps
        self.resumed = resumed
        self.trainer: FinetuneTrainer | None = None
        self._last = time.monotonic()
        self._owed = False

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self.trainer.enter_epoch(self.resumed)
        self.resumed = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        by_steps = self.strategy == "steps" and state.global_step % self.every_steps == 0
        if control.should_save or by_steps or self._is_time():
            # The evaluation that closes an epoch comes after its last step. A checkpoint in between would resume
            # behind it and skip it, so one owed at an epoch's last step is taken when the epoch is closed.
            closes = float(state.epoch).is_integer()
            control.should_save, self._owed = not closes, closes
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._owed or self.strategy == "epoch":
            control.should_save, self._owed = True, False
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._last = time.monotonic()

    def _is_time(self) -> bool:
        assert self.trainer is not None
        wait = max(self.every_minutes * 60, self.trainer.seconds_saving / SHARE_FOR_SAVING)
        return self.every_minutes > 0 and time.monotonic() - self._last >= wait


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM: finish the step, save, stop; an evaluation is left at once, and made when the training
    goes on. A second signal goes to the handler that was installed before.

    Attributes:
        caught: the signal that came. stopped: the same, once it has stopped the training: one that comes after the
            last evaluation does not, as all is done.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.stopped: int | None = None
        self._evaluating = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while a training runs in the main thread (elsewhere Python delivers no signals)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: Any) -> None:
            self.caught = number
            signal.signal(number, before[number])
            self._leave_evaluation()

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within this context a signal does not wait for the end of a step.

        Raises:
            Signalled: it came, or had come before.
        """
        self._evaluating = True
        try:
            self._leave_evaluation()
            yield
        finally:
            self._evaluating = False

    def _leave_evaluation(self) -> None:
        if self._evaluating and self.caught is not None:
            self.stopped = self.caught
            raise Signalled(self.caught)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.caught is not None:
            self.stopped = self.caught
            control.should_training_stop = True
            control.should_save = control.should_save or state.global_step < state.max_steps
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.stopped is None:
            return control
        if state.global_step < state.max_steps:
            return _leave_open(state, control)
        control.should_save = True  # of the last step, once it is known whether an evaluation is due
        return control


class PauseAt(TrainerCallback):
    """After a given step, save and stop; None, or the last step, stops nothing."""

    def __init__(self, step: int | None) -> None:
        self.step, self.reached = step, False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.step is not None and self.step <= state.global_step < state.max_steps:
            self.reached = True
            control.should_save = control.should_training_stop = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        return _leave_open(state, control) if self.reached else control


def _leave_open(state: Any, control: Any) -> Any:
    """To the library a training that stops in the middle of an epoch closes it, with the evaluation that is due then.
    It must not: if that was the best so far a checkpoint of it would take the place of the one just saved, and who
    goes on from there would know of an evaluation, and have drawn random numbers, that nobody else has."""
    if not float(state.epoch).is_integer():
        control.should_evaluate = control.should_log = False
    return control


class Watch(TrainerCallback):
    """Tells a listener of each step and of everything logged.

    Args:
        on_step: (steps done, steps in all). on_log: (steps done, the logged values).
    """

    def __init__(self, on_step: Callable[[int, int], None], on_log: Callable[[int, Mapping[str, float]], None]) -> None:
        self.told_step, self.told_log = on_step, on_log

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.told_step(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.told_step(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        if logs:
            self.told_log(state.global_step, logs)
