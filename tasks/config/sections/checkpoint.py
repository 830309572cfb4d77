"""`checkpoint`: how often training is saved, which bounds the work lost if it is killed."""

from __future__ import annotations

from pydantic import Field

from tasks.config.sections.section import NotNegative, Section


class CheckpointConfig(Section):
    """Checkpoints during training."""

    every_minutes: NotNegative = Field(
        default=1.0,
        description="Minutes between checkpoints; 0 turns time-based checkpoints off. The interval stretches so that "
        "saving never costs more than about 5 % of training.",
    )
