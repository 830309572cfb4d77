"""A resumed training logs and evaluates at its own interval, not at that of its checkpoint."""

from typing import Any

from transformers import TrainerCallback


class OwnSteps(TrainerCallback):
    """The library takes the steps between logs and evaluations from the checkpoint's state; here the arguments win."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        state.compute_steps(args, state.max_steps)
