"""`eval`: what is measured, which checkpoint is kept, and when to stop early."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.config.section import Count, Section


class EvalConfig(Section):
    """Evaluation."""

    metrics: list[str] | None = Field(default=None, description="Metrics to report. Omit: those of the task.")
    best: str | None = Field(
        default=None,
        min_length=1,
        description="Keep the checkpoint best by this metric, e.g. accuracy, f1_macro or loss. Omit: keep the last.",
    )
    patience: Count | None = Field(
        default=None, description="Stop after this many evaluations without improvement. Needs eval.best."
    )

    @model_validator(mode="after")
    def _patience_has_a_measure(self) -> EvalConfig:
        if self.patience is not None and self.best is None:
            raise ValueError(f"patience {self.patience} needs to know what to watch; give eval.best, e.g. loss")
        return self
