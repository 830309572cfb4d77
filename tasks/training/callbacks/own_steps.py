"""Make a resumed training log and evaluate at its own intervals, not at those of its checkpoint."""

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class OwnSteps(TrainerCallback):
    """Sets logging and evaluation intervals from the arguments; the library uses those in the checkpoint's state."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        state.compute_steps(args, state.max_steps)
