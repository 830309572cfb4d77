"""The protocol of training methods.

A method (layer-wise learning rates, gradual unfreezing, a penalty on the weights …) is a subclass of `TrainingHook` in
its own file, and one row in `tasks.training.methods`. The trainer calls all hooks of a training, in the order of the
config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback

    from tasks.data.tokens.dataset import TokenRows

    Group = dict[str, Any]


class TrainingHook:
    """One method in one training. By default all members change nothing.

    Args:
        options: the method's validated options. model: the trained model (a `PeftModel` if there is an adapter).
        plan: the training's plan (`plan.json` of stage 8).

    Attributes:
        columns: of the batches that are for `loss` and not for the model. model_inputs: arguments that the model gets
            with each training batch.
        artifacts: by name, those of stages that only runs with the method have.
        micro_batches: how many the current optimizer step has; known from `enter_step` on.
    """

    columns: Sequence[str] = ()
    model_inputs: Mapping[str, Any] = {}
    artifacts: Mapping[str, Any] = {}
    micro_batches: int = 1

    def __init__(self, options: Mapping[str, Any], model: torch.nn.Module, plan: Mapping[str, Any]) -> None:
        self.options, self.model, self.plan = options, model, plan

    def check(self) -> None:
        """Raise ConfigError if the method does not fit the model. Called before a run's rows are tokenized, on a model
        without weights (torch's meta device), where of the plan only `arguments` and `methods` are known; and before a
        training."""

    def set_trainable(self) -> None:
        """Set `requires_grad` of everything that is trained at any step. Called for all hooks before anything below; in
        a plan, and after `check`, on a model without weights (torch's meta device)."""

    def prepare(self) -> None:
        """Called once, before the optimizer is made, with the model's weights."""

    def rows(self, rows: TokenRows) -> TokenRows:
        """Return the training rows, with columns of the method's if it needs them."""
        return rows

    def collate(self, collate: Callable[..., Any]) -> Callable[..., Any]:
        """Return the collator of training rows."""
        return collate

    def sampler(self, rows: TokenRows) -> Iterable[int] | None:
        """Return what draws the positions of an epoch's rows, with a length and with random numbers only from torch's
        global generator, so that a resumed epoch has the same order; None: `train.train_sampling_strategy`."""
        return None

    def parameter_groups(self, groups: list[Group]) -> list[Group]:
        """Return the optimizer's parameter groups. In a plan it is called on a model without weights.

        Args:
            groups: all trainable parameters, in the form of torch's optimizers, with `params`, `names` (parallel to
                `params`) and `weight_decay`; a group may have `lr`, which the schedule then scales, and `from_step`,
                the step before which it is not trained (for the plan's table).
        """
        return groups

    def warnings(self) -> Sequence[str]:
        """Return what a plan and a training should warn of. Called after `parameter_groups`."""
        return ()

    def enter_step(self, step: int, epoch: float) -> None:
        """Called before the first batch of each optimizer step, including the first one after a resume: set which
        parameters are trainable at that step, as a pure function of it.

        Args:
            step: steps done so far. epoch: the same in epochs.
        """

    def forward(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], num_items: torch.Tensor | int | None
    ) -> tuple[torch.Tensor, Any] | None:
        """Return the loss and outputs of a micro-batch, in place of the model's own (the hooks' `loss` is called with
        them); None: the model's own.

        Args:
            inputs: the collated batch; for encoder-decoder models with `decoder_input_ids`. num_items: divide the
                summed loss by it; None: return a mean.
        """
        return None

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the loss of a micro-batch.

        Args:
            loss: the loss without this hook, a mean over the micro-batch's rows or labelled tokens. inputs: the
                collated batch, `labels` included. outputs: the model's.
        """
        return loss

    def denominator(self, inputs: Mapping[str, Any]) -> float | None:
        """Return what `loss` divides a micro-batch's sum by, such as the sum of its weights, so that accumulated
        micro-batches train like one large batch; None: the number of rows or labelled tokens."""
        return None

    def penalty(self) -> torch.Tensor | None:
        """Return a term that does not depend on the batch, called once for each micro-batch; the mean of an optimizer
        step's terms is added to its loss."""
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
