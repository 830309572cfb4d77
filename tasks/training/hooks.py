"""The protocol of training methods.

A method (layer-wise learning rates, gradual unfreezing, a penalty on the weights …) is a subclass of `TrainingHook` in
its own file, and one row in `tasks.training.methods`. The trainer calls all hooks of a training, in the order of the
config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback

    Group = dict[str, Any]


class TrainingHook:
    """One method in one training. By default all members change nothing.

    Args:
        options: the method's validated options. model: the trained model (a `PeftModel` if there is an adapter).
        plan: the training's plan (`plan.json` of stage 8).
    """

    def __init__(self, options: Mapping[str, Any], model: torch.nn.Module, plan: Mapping[str, Any]) -> None:
        self.options, self.model, self.plan = options, model, plan

    def prepare(self) -> None:
        """Called once, before the optimizer is made: set `requires_grad` of everything that is trained at any step."""

    def parameter_groups(self, groups: list[Group]) -> list[Group]:
        """Return the optimizer's parameter groups.

        Args:
            groups: in the form of torch's optimizers, with `params`, `names` (parallel to `params`) and `weight_decay`;
                a group may have `lr`, which the schedule then scales.
        """
        return groups

    def enter_step(self, step: int, epoch: float) -> None:
        """Called before the first batch of each optimizer step, including the first one after a resume: set which
        parameters are trainable at that step, as a pure function of it.

        Args:
            step: steps done so far. epoch: the same in epochs.
        """

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the loss of a micro-batch.

        Args:
            loss: the loss without this hook, a mean over the micro-batch's rows or labelled tokens.
        """
        return loss

    def penalty(self) -> torch.Tensor | None:
        """Return a term that depends on the weights only, added once to the loss of each optimizer step."""
        return None

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return callbacks for transformers' Trainer."""
        return ()

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state that checkpoints need for an exact resume: tensors, numbers, strings, lists and dicts of
        these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned when the checkpoint was written."""


def overrides(hook: TrainingHook, member: str) -> bool:
    """Whether a hook overrides a member's default."""
    return getattr(type(hook), member) is not getattr(TrainingHook, member)
