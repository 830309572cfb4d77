"""What a training method may change: the protocol of all methods.

A method (layer-wise learning rates, gradual unfreezing, a penalty on the weights …) is a subclass of `TrainingHook` in
a file of its own, and one row in `tasks.training.methods`. The trainer asks all hooks of a training, in the order of
the config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback

    Group = dict[str, Any]


class TrainingHook:
    """One method in one training. Every member's default changes nothing.

    Args:
        options: the method's options, validated. model: what is trained (a `PeftModel` where there is an adapter).
        plan: the training's plan (`plan.json` of stage 8).
    """

    def __init__(self, options: Mapping[str, Any], model: Any, plan: Mapping[str, Any]) -> None:
        self.options, self.model, self.plan = options, model, plan

    def prepare(self) -> None:
        """Called once, before the optimizer is made: say with `requires_grad` what will be trained at any time."""

    def parameter_groups(self, groups: list[Group]) -> list[Group]:
        """The optimizer's parameter groups.

        Args:
            groups: as torch's optimizers take them, with `params`, `names` (parallel to `params`) and `weight_decay`;
                a group may have `lr`, which the schedule then scales.
        """
        return groups

    def enter_step(self, step: int, epoch: float) -> None:
        """Called before the first batch of each optimizer step, also of the first one after a resume: set what is
        trainable at it, as a pure function of the step.

        Args:
            step: steps done so far. epoch: the same in passes over the rows.
        """

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """The loss of a micro-batch.

        Args:
            loss: what it would be without this hook, a mean over the micro-batch's rows or labelled tokens.
        """
        return loss

    def penalty(self) -> torch.Tensor | None:
        """A term of the weights alone, added once to the loss of each optimizer step."""
        return None

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Callbacks of transformers' Trainer."""
        return ()

    def state_dict(self) -> Mapping[str, Any]:
        """What every checkpoint must carry so that a resumed training is exact: tensors, numbers, texts, lists and
        dicts of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave when the checkpoint was written."""


def overrides(hook: TrainingHook, member: str) -> bool:
    """Whether a hook has a member of its own in place of the default."""
    return getattr(type(hook), member) is not getattr(TrainingHook, member)
