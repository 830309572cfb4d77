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
        description="When to write the model to output_dir: always, or (if_better) unless the model there is better by "
        "the main metric (eval.best, or the task's first; on test rows if there are any).",
    )
    overwrite: bool = Field(
        default=False,
        description="Allow an output_dir with files that no run wrote, or the model of another config. "
        "Only files with names that the model has too are replaced.",
    )
