"""How often a resumed training logs and evaluates: as it is told, not as its checkpoint was."""

from typing import Any

from transformers import TrainerCallback


class OwnSteps(TrainerCallback):
    """The library takes the steps between logs and evaluations from the checkpoint's state; here the arguments win."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        state.compute_steps(args, state.max_steps)
