"""A learning rate of the head's own: a new head learns from random weights, the body only adapts.

As in SetFit (`head_learning_rate` of its TrainingArguments) and in fastai's `lr=slice(…)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tasks.config.errors import ConfigError
from tasks.config.sections.section import Positive, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task

if TYPE_CHECKING:
    from tasks.config import RunConfig


class HeadLearningRate(Section):
    """Options. `head_learning_rate: 1e-3` is short for `{rate: 1e-3}`."""

    bare: ClassVar[str] = "rate"

    rate: Positive = Field(
        description="The head's learning rate, at the end of the warm-up; everything else has train.learning_rate."
    )


class HeadRate(TrainingHook):
    """Makes groups for the head, with its learning rate.

    Raises:
        ConfigError: the model has no head of its own (its output layer is tied to its embeddings), or an architecture
            whose head is unknown.
    """

    def check(self) -> None:
        """Find the head."""
        from tasks.models.layers import head_names

        if not head_names(self.model):
            model: Any = self.model
            inner = model.get_base_model() if hasattr(model, "peft_config") else model
            raise ConfigError(f"methods.head_learning_rate: this {type(inner).__name__} has no head of its own "
                              "(its output layer is tied to its embeddings); set train.learning_rate")  # fmt: skip

    def parameter_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Split `groups` into the head and the rest."""
        from tasks.models.layers import head_names
        from tasks.training.groups import by_depth

        head = head_names(self.model)
        is_head = {name: int(name in head) for group in groups for name in group["names"]}
        return [{**group, "lr": self.options["rate"]} if own else group for own, group in by_depth(groups, is_head)]


def _contradictions(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterator[str]:
    if "layerwise_lr_decay" in config.methods:
        factor = options["rate"] / (config.train.learning_rate or options["rate"])
        yield ("methods.head_learning_rate: methods.layerwise_lr_decay sets the head's learning rate too; leave this "
               f"out and set methods.layerwise_lr_decay.head_multiplier: {factor:g}")  # fmt: skip


HEAD_LEARNING_RATE = Method(
    name="head_learning_rate",
    summary="The head has a learning rate of its own.",
    options=HeadLearningRate,
    hook="tasks.training.methods.head_learning_rate:HeadRate",
    check=_contradictions,
)
