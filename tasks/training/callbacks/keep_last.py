"""The checkpoint at the end of a training, for one that goes on from there."""

from typing import Any

from transformers import TrainerCallback


class KeepLast(TrainerCallback):
    """Asks for a checkpoint after the last step; `Cadence` takes it once the epoch is closed."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step >= state.max_steps:
            control.should_save = True
        return control
