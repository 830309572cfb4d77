"""Notify the training methods that an optimizer step begins."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from tasks.config.errors import ConfigError
from tasks.training.hooks import TrainingHook


class EnterStep(TrainerCallback):
    """Calls each hook's `enter_step`, after its warnings.

    Raises:
        ConfigError: no parameter is trainable.
    """

    def __init__(self, hooks: Sequence[TrainingHook], warn: Callable[[str], None]) -> None:
        self.hooks, self.warn = hooks, warn

    def on_train_begin(self, args: object, state: TrainerState, control: TrainerControl, **named: Any) -> None:
        for hook in self.hooks:
            for line in hook.warnings():
                self.warn(line)

    def on_step_begin(self, args: object, state: TrainerState, control: TrainerControl, **named: Any) -> None:
        for hook in self.hooks:
            hook.enter_step(state.global_step, float(state.epoch or 0))
        if self.hooks and not any(each.requires_grad for each in named["model"].parameters()):
            names = ", ".join(self.hooks[0].plan["methods"])
            raise ConfigError(f"methods: {names} leave no trainable parameter at step {state.global_step + 1}")
