"""`export`: what is written beside the trained weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.config.sections.section import Section


class ExportConfig(Section):
    """The saved model."""

    card: bool = Field(default=True, description="Write a model card (README.md) with data, settings and metrics.")
    merge: bool = Field(default=False, description="LoRA: save the merged full model instead of the adapter alone.")
    promote: Literal["always", "if_better"] = Field(
        default="always",
        description="Which model output_dir holds in the end: always this run's, or (if_better) the one it has, unless "
        "this run's main metric (eval.best, or the task's first; on test rows where there are any) is as good.",
    )
    overwrite: bool = Field(
        default=False,
        description="Let output_dir be a folder that holds files of somebody else, or the model of another config. "
        "Only files of the names a model has are replaced.",
    )
