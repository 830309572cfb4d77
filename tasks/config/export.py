"""`export`: what is written beside the trained weights."""

from __future__ import annotations

from pydantic import Field

from tasks.config.section import Section


class ExportConfig(Section):
    """The saved model."""

    card: bool = Field(default=True, description="Write a model card (README.md) with data, settings and metrics.")
    merge: bool = Field(default=False, description="LoRA: save the merged full model instead of the adapter alone.")
