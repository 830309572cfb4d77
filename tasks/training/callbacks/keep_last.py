"""Save a checkpoint at the end of a training, so that a longer one can continue from it."""

from transformers import TrainerCallback, TrainerControl, TrainerState


class KeepLast(TrainerCallback):
    """Requests a checkpoint after the last step; `Cadence` saves it at the end of the epoch."""

    def on_step_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = True
