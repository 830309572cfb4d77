"""`preference`: how a model learns from preferences, with the names of TRL's configs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.config.sections.section import Section

LossType = Literal[
    "sigmoid", "hinge", "ipo", "sigmoid_norm", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero",
    "apo_down", "simpo", "orpo", "kto", "apo_zero_unpaired",
]  # fmt: skip


class PreferenceConfig(Section):
    """Learning from preferences: the tasks reward, dpo and kto."""

    beta: float | None = Field(
        default=None, gt=0,
        description="How strongly the model is held near the reference model: less lets it move further.",
    )  # fmt: skip
    loss_type: LossType | None = Field(
        default=None,
        description="The loss. simpo and orpo need no reference model; kto and apo_zero_unpaired are for kto.",
    )
    label_smoothing: float | None = Field(
        default=None, ge=0, lt=0.5,
        description="Assumed share of swapped preferences, for sigmoid (conservative DPO), robust and exo_pair.",
    )  # fmt: skip
    simpo_gamma: float | None = Field(default=None, ge=0, description="Target margin of loss_type: simpo.")
    desirable_weight: float | None = Field(
        default=None, gt=0, description="Weight of the loss of desirable answers, for kto."
    )
    undesirable_weight: float | None = Field(
        default=None, gt=0, description="Weight of the loss of undesirable answers, for kto."
    )
    center_rewards_coefficient: float | None = Field(
        default=None, gt=0,
        description="Weight of the squared sum of both scores, which keeps their mean at 0, for reward. Omit: none.",
    )  # fmt: skip
    disable_dropout: bool | None = Field(
        default=None, description="Train without dropout, an adapter's included, as the reference computes."
    )
