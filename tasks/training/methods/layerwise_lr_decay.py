"""Layer-wise learning rate decay: lower layers change less.

Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146, 3.2, "discriminative fine-tuning"); with one factor for all layers as
in Clark et al. 2020 (ELECTRA, arXiv:2003.10555, appendix B: 0.8 or 0.9) and Sun et al. 2019 (arXiv:1905.05583: 0.95).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from tasks.config.sections.section import NO_BOOL, Positive, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method


class LayerwiseLrDecay(Section):
    """Options. `layerwise_lr_decay: 0.9` is short for `{decay: 0.9}`."""

    bare: ClassVar[str] = "decay"

    decay: Annotated[float, Field(gt=0, le=1), NO_BOOL] = Field(
        default=0.95, description="Each layer's learning rate divided by that of the layer above it, in (0, 1]."
    )
    head_multiplier: Positive = Field(
        default=2.0, description="The head's learning rate divided by train.learning_rate, which the top layer has."
    )


class LayerwiseLearningRates(TrainingHook):
    """Makes a group for each layer: the top layer has `learning_rate`, each layer below `decay` times the rate of the
    layer above it, the embeddings the lowest, the head `head_multiplier` times `learning_rate`.

    Raises:
        ConfigError: the layers of the model's architecture are unknown.
    """

    def check(self) -> None:
        """Find the layers."""
        from tasks.models.layers import depths

        depths(self.model)

    def parameter_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Split `groups` by layer, lowest first."""
        from tasks.models.layers import depths
        from tasks.training.groups import by_depth

        depth_of, layers = depths(self.model)
        rate, decay = self.plan["arguments"]["learning_rate"], self.options["decay"]

        def factor(depth: int) -> float:
            return self.options["head_multiplier"] if depth == layers + 1 else decay ** (layers - depth)

        return [{**group, "lr": rate * factor(depth)} for depth, group in by_depth(groups, depth_of)]


LAYERWISE_LR_DECAY = Method(
    name="layerwise_lr_decay",
    summary="Lower layers get lower learning rates, the head a higher one.",
    options=LayerwiseLrDecay,
    hook="tasks.training.methods.layerwise_lr_decay:LayerwiseLearningRates",
)
