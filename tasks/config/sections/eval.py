"""`eval`: what is measured, which checkpoint is kept, and when to stop early."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config.sections.section import Count, Section


class EvalConfig(Section):
    """Evaluation."""

    metrics: list[str] | None = Field(
        default=None,
        description="Metrics to report; your own as package.module:function, called with (predictions, references) or "
        "with (table). Omit: those of the task. Your own alone: besides those of the task.",
    )
    splits: list[Literal["validation", "test"]] = Field(
        default=["validation", "test"],
        description="Which rows the trained model is judged on. A sweep judges cells on validation, the best on test.",
    )
    max_samples: Count | None = Field(
        default=None,
        description="Score at most so many rows of validation and of test, drawn at random but the same every time, "
        "while training and after it. Omit: all.",
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns of the data by whose values the metrics are also reported."
    )
    bootstrap: int = Field(
        default=1000, ge=0, description="Samples for the 95 % interval of each metric; 0: no intervals."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["tuned"] = Field(
        default=0.5,
        description="Where several labels may hold: from which probability on one does. tuned: the best for f1_micro "
        "on the validation rows; kept with the model.",
    )
    best: str | None = Field(
        default=None,
        min_length=1,
        description="Keep the checkpoint best by this metric, e.g. accuracy, f1_macro or loss, or by a number of your "
        "own: package.module:function. Omit: keep the last.",
    )
    greater_is_better: bool | None = Field(
        default=None, description="Whether more of eval.best is better. Omit: the metric knows; of your own more is."
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

    @field_validator("best", mode="before")
    @classmethod
    def _function_by_name(cls, best: Any) -> Any:
        return f"{best.__module__}:{best.__qualname__}" if callable(best) else best

    @model_validator(mode="after")
    def _patience_has_a_measure(self) -> EvalConfig:
        if self.patience is not None and self.best is None:
            raise ValueError(f"patience {self.patience} needs to know what to watch; give eval.best, e.g. loss")
        return self
