"""`eval`: what is measured, which checkpoint is kept, and when to stop early."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from tasks.config.section import Count, Section


class EvalConfig(Section):
    """Evaluation."""

    metrics: list[str] | None = Field(
        default=None,
        description="Metrics to report; your own as package.module:function, called with (predictions, references) or "
        "with (table). Omit: those of the task. Your own alone: besides those of the task.",
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns of the data by whose values the metrics are also reported."
    )
    bootstrap: int = Field(
        default=1000, ge=0, description="Samples for the 95 % interval of each metric; 0: no intervals."
    )
    best: str | None = Field(
        default=None,
        min_length=1,
        description="Keep the checkpoint best by this metric, e.g. accuracy, f1_macro or loss. Omit: keep the last.",
    )
    patience: Count | None = Field(
        default=None, description="Stop after this many evaluations without improvement. Needs eval.best."
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _functions_by_name(cls, metrics: Any) -> Any:
        """A function stands for its own dotted path, which is what a record can hold."""
        if not isinstance(metrics, list | tuple):
            return metrics
        return [f"{each.__module__}:{each.__qualname__}" if callable(each) else each for each in metrics]

    @model_validator(mode="after")
    def _patience_has_a_measure(self) -> EvalConfig:
        if self.patience is not None and self.best is None:
            raise ValueError(f"patience {self.patience} needs to know what to watch; give eval.best, e.g. loss")
        return self
