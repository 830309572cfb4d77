"""`data`: the rows, their columns and classes, how they are split, and how long a row may be."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config.section import Count, Section, Seed, Share

Sources = Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
# Classes are often 0, 1 or 1 … 5: a label is text, however it is written.
Label = Annotated[str, Field(coerce_numbers_to_str=True)]


class ColumnsConfig(Section):
    """Which column holds what. Omit one, and it is found by its name."""

    text: str | None = Field(default=None, description="Column with the text. Omit: found by its name.")
    text_pair: str | None = Field(default=None, description="Column with the second text of a pair, if there is one.")
    label: str | None = Field(default=None, description="Column with the label. Omit: found by its name.")


class SplitConfig(Section):
    """How rows are held out when no file is given for it."""

    validation: Share = Field(
        default=0.1, description="Share of train held out for validation, in [0, 1), unless data.validation is given."
    )
    test: Share = Field(
        default=0.0, description="Share of train held out for the final test, in [0, 1), unless data.test is given."
    )
    stratify: bool = Field(default=True, description="Keep the classes' shares equal in all parts.")
    seed: Seed = Field(default=0, description="Seed of the split. Apart from the run's, so runs share one split.")

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} + test {self.test:g} leave nothing to train on; valid: a sum below 1"
            )
        return self


class DataConfig(Section):
    """The data."""

    bare: ClassVar[str] = "train"

    train: Sources = Field(
        description="Training rows: one file, folder or URL, or a list of them (read in this order)."
    )
    validation: Sources | None = Field(
        default=None, description="Rows to validate on. Omit: a share of train, see data.split.validation."
    )
    test: Sources | None = Field(
        default=None, description="Rows for the final test. Omit: a share of train, see data.split.test."
    )
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "folder"] = Field(
        default="auto", description="Format of the files. auto: by their names."
    )
    encoding: str = Field(
        default="auto", min_length=1, description="Text encoding. auto: utf-8, else cp1252, and it is said aloud."
    )
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig, description="Which column holds what.")
    labels: list[Label] | None = Field(
        default=None, min_length=1, description="The classes in order. Omit: those found in train, sorted."
    )
    split: SplitConfig = Field(default_factory=SplitConfig, description="How rows are held out.")
    dedupe: Literal["off", "exact"] = Field(
        default="off",
        description="exact: drop rows whose text repeats an earlier one (contradicting labels are reported first).",
    )
    max_length: Count | None = Field(
        default=None, description="Longest row in tokens. Omit: what the model and the task allow."
    )
    overlong: Literal["truncate", "error"] = Field(
        default="truncate", description="What to do with rows over max_length; their number is always reported."
    )
    max_train_samples: Count | None = Field(
        default=None, description="Train on this many rows at most, for a quick try. Omit: all rows."
    )

    @field_validator("labels")
    @classmethod
    def _each_class_once(cls, labels: list[str] | None) -> list[str] | None:
        twice = sorted({label for label in labels or () if (labels or []).count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given more than once; valid: each class once, in order")
        return labels
