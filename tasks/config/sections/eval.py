"""`eval`: metrics, which checkpoint is kept, and early stopping."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config.json_types import is_sequence
from tasks.config.sections.data import Sources
from tasks.config.sections.guard import GuardConfig, Guards
from tasks.config.sections.section import Count, Section, WholeNotNegative


def _dotted(metric: object) -> object:
    return f"{metric.__module__}:{metric.__qualname__}" if callable(metric) else metric


class ForgettingConfig(Section):
    """Held-out text, to measure what a causal language model forgets in training."""

    data: Sources | None = Field(
        default=None,
        description="Plain texts that the training data does not resemble, as in data.test: one file, folder or URL, "
        "or a list of them. Their mean token loss before and after training is reported. Omit: not measured.",
    )
    max_samples: Count = Field(
        default=200, description="At most this many texts, drawn at random but always the same; of each the beginning."
    )
    column: str | None = Field(
        default=None, min_length=1, description="The column of the texts. Omit: found by its usual names, such as text."
    )

    @model_validator(mode="after")
    def _has_texts(self) -> ForgettingConfig:
        fields = type(self).model_fields
        idle = [name for name in ("max_samples", "column") if getattr(self, name) != fields[name].default]
        if self.data is None and idle:
            raise ValueError(f"{idle[0]} given without data; set eval.forgetting.data, a source of plain texts")
        return self


class EvalConfig(Section):
    """Evaluation."""

    metrics: list[str] | None = Field(
        default=None,
        description="Metrics to report; your own as package.module:function, called with (predictions, references) or "
        "with (table). Omit: those of the task. If all are your own, the task's are reported too.",
    )
    splits: list[Literal["validation", "test"]] = Field(
        default=["validation", "test"],
        description="Splits on which the model is evaluated. A sweep ranks cells on validation and tests the best.",
    )
    max_samples: Count | None = Field(
        default=None,
        description="Evaluate at most this many rows of validation and of test, drawn at random but always the same, "
        "during and after training. Omit: all.",
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns of the data; metrics are also reported for each of their values."
    )
    samples: WholeNotNegative | None = Field(
        default=None,
        description="Report what the base and the trained model answer to this many rows of test (without test, of "
        "validation), at most 64 tokens each: questions of sft, dpo and kto. Omit: 3 with these.",
    )
    forgetting: ForgettingConfig = Field(
        default_factory=ForgettingConfig,
        description="Held-out text on which the loss before and after training is compared.",
    )
    guard: Guards = Field(
        default_factory=list[GuardConfig],
        description="What earlier trainings taught, measured before and after this one; a path is short for {data: "
        "path}.",
    )
    bootstrap: int = Field(
        default=1000, ge=0, description="Samples for the 95 % interval of each metric; 0: no intervals."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["tuned", "tuned_per_class"] = Field(
        default=0.5,
        description="Probability from which on a label is predicted in multi-label classification. tuned: the best for "
        "f1_micro on the validation rows; tuned_per_class: for each label the best for its f1 there, which "
        "raises f1_macro and may lower f1_micro, and needs enough rows of each label. Saved with the model; f1 at 0.5 "
        "is reported too, as f1_micro_untuned etc. During training it is 0.5.",
    )
    best: str | None = Field(
        default=None,
        min_length=1,
        description="Keep the best checkpoint by this metric, e.g. accuracy, f1_macro or loss, or your own: "
        "package.module:function. Omit: keep the last.",
    )
    greater_is_better: bool | None = Field(
        default=None,
        description="Whether a higher eval.best is better. Omit: as defined for the metric; true for your own.",
    )
    patience: Count | None = Field(
        default=None, description="Stop after this many evaluations without improvement. Needs eval.best. Omit: never."
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _functions_by_name(cls, metrics: object) -> object:
        """Replace functions by their dotted paths, which can be stored in records."""
        return [_dotted(each) for each in metrics] if is_sequence(metrics) else metrics

    @field_validator("best", mode="before")
    @classmethod
    def _function_by_name(cls, best: object) -> object:
        return _dotted(best)

    @model_validator(mode="after")
    def _patience_has_a_measure(self) -> EvalConfig:
        if self.patience is not None and self.best is None:
            raise ValueError(f"patience {self.patience} needs a metric; set eval.best, e.g. loss")
        return self
