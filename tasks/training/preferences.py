"""The trainer of tasks that compare a model with its reference."""

from typing import Any

import torch

from tasks.training.trainer import FinetuneTrainer


class PreferenceTrainer(FinetuneTrainer):
    """Trains without dropout if the loss's options say `disable_dropout`, as TRL does: the reference model computes
    without it, and dropout would let two equal models differ."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if self.own_loss.keywords.get("disable_dropout"):  # type: ignore[union-attr]
            disable_dropout(self.model)


def disable_dropout(model: Any) -> None:
    """Set every dropout of a model to 0: modules, and numbers that a module passes to functions."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
