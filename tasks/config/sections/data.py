"""`data`: the rows, their columns and classes, how they are split, and their maximum length."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from tasks.config.formats import format_names
from tasks.config.sections.columns import ColumnsConfig
from tasks.config.sections.secrets import NO_CREDENTIALS
from tasks.config.sections.section import Count, More, Section, Seed, Share

Source = Annotated[str, Field(json_schema_extra=NO_CREDENTIALS)]
Sources = Annotated[Source, Field(min_length=1)] | Annotated[list[Source], Field(min_length=1)]
# Classes are often 0, 1 or 1 … 5, or true and false; labels are always converted to text.
Label = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value),
]


def _formats() -> list[str]:
    return ["auto", *format_names()]


def _known_format(name: str) -> str:
    if name not in _formats():
        raise PydanticKnownError("enum", {"expected": ", ".join(_formats())})
    return name


FormatName = Annotated[str, AfterValidator(_known_format), More(lambda: {"enum": _formats()})]


class SplitConfig(Section):
    """How rows are held out for splits without a file."""

    model_config = ConfigDict(title="Split")

    validation: Share | None = Field(
        default=None, description="Share of train held out for validation, in [0, 1), unless data.validation is given."
    )
    test: Share = Field(
        default=0.0, description="Share of train held out for the final test, in [0, 1), unless data.test is given."
    )
    stratify: bool = Field(default=True, description="Keep the proportions of classes equal in all splits.")
    seed: Seed = Field(
        default=0, description="Seed of the split, separate from the run's seed, so that runs share one split."
    )
    strategy: Literal["random", "hash"] = Field(
        default="random",
        description="random: shuffled; hash: by a hash of each row's text, so that added rows do not move others.",
    )
    group_by: str | None = Field(
        default=None,
        description="Rows with equal values in this column, e.g. the author, stay in one split. Omit: equal texts do.",
    )
    hash_by: str | None = Field(default=None, description="Column to hash with strategy hash. Omit: the text.")
    time: str | None = Field(
        default=None,
        description="Column with a time: the newest rows are the test, those before them validation. "
        "Omit: no such rule.",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> SplitConfig:
        rules = {"group_by": self.group_by, "time": self.time, "strategy: hash": self.strategy == "hash"}
        given = [name for name, value in rules.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; set only one")
        if self.hash_by and self.strategy != "hash":
            raise ValueError(f"hash_by {self.hash_by} needs strategy: hash")
        return self

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitConfig:
        validation = self.validation or 0
        if validation + self.test >= 1:
            raise ValueError(
                f"validation {validation:g} + test {self.test:g} leave nothing to train on; valid: a sum below 1"
            )
        return self


class DataConfig(Section):
    """The data."""

    bare: ClassVar[str] = "train"

    train: Sources = Field(
        description="Training rows: one file, folder or URL, or a list of them (read in this order)."
    )
    validation: Sources | None = Field(
        default=None, description="Rows for validation. Omit: a share of train, see data.split.validation."
    )
    test: Sources | None = Field(
        default=None, description="Rows for the final test. Omit: a share of train, see data.split.test."
    )
    format: FormatName = Field(default="auto", description="Format of the files. auto: by file name.")
    encoding: str = Field(
        default="auto", min_length=1, description="Text encoding. auto: utf-8, else cp1252 with a warning."
    )
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig, description="The columns of the data.")
    labels: list[Label] | None = Field(
        default=None, min_length=1, description="The classes in order. Omit: those found in train, sorted."
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        description="Separator of several labels in one text, such as the comma in red,green; none: a text is one "
        "label. Omit: texts are split, with a notice, if that is certain.",
    )
    split: SplitConfig = Field(default_factory=SplitConfig, description="How rows are held out.")
    dedupe: Literal["off", "exact"] = Field(
        default="off",
        description="exact: drop rows whose text repeats an earlier one (contradicting labels are reported first); of "
        "conversations and preferences, rows whose prompt and answers do.",
    )
    leakage: Literal["error", "warn", "remove", "off"] | None = Field(
        default=None,
        description="Rows of validation or test whose exact text is in train too: error stops the run, warn warns and "
        "also reports metrics without them, remove drops them from train, off skips the check. Omit: warn.",
    )
    near_duplicates: Literal["warn", "off"] = Field(
        default="warn",
        description="Warn of rows of validation and test that nearly repeat one of train, and of near-duplicates in "
        "train.",
    )
    max_length: Count | None = Field(
        default=None, description="Maximum length of a row in tokens, at most the model's limit."
    )
    overlong: Literal["truncate", "error", "drop", "window"] | None = Field(
        default=None,
        description="What to do with rows over max_length (their number is reported): truncate them, stop with an "
        "error, drop them, or split them into several rows (window).",
    )
    stride: int | None = Field(
        default=None, ge=0, description="Overlap in tokens of neighbouring windows of a row (overlong: window)."
    )
    prefix: str | None = Field(
        default=None,
        description="Text to prepend to every source, for sequence-sequence. Omit: nothing.",
    )
    max_target_length: Count | None = Field(
        default=None, description="Longest target in tokens, for sequence-sequence."
    )
    merge: Literal["concat", "pack", "none"] | None = Field(
        default=None,
        description="How texts become rows for language models: concat joins them and splits at max_length, pack "
        "combines whole texts up to max_length, none keeps one row per text.",
    )
    packing: bool | None = Field(
        default=None,
        description="Pack whole texts so that none sees another (positions restart, no attention across), for "
        "language-generation and sft. Replaces merge. Omit: false.",
    )
    append_eos: bool | None = Field(
        default=None, description="Append the end token to every text, so that a language model learns to stop."
    )
    train_on: Literal["assistant", "last_turn", "completion", "all"] | None = Field(
        default=None,
        description="What a conversation's loss is on: all turns of the assistant, the last one, the completion (the "
        "last turn if rows have no prompt of their own), or all tokens. Omit: completion for rows of prompt and "
        "completion, all for raw texts, else assistant.",
    )
    label_all_tokens: bool = Field(
        default=False, description="Label every token of a word, not only its first, for token-classification."
    )
    mlm_probability: float | None = Field(
        default=None, gt=0, lt=1, description="Share of tokens that are masked, for masked language models."
    )
    max_train_samples: Count | None = Field(
        default=None, description="Train on at most this many rows, for a quick test. Omit: all rows."
    )

    @field_validator("labels")
    @classmethod
    def _each_class_once(cls, labels: list[str] | None) -> list[str] | None:
        twice = sorted({label for label in labels or () if (labels or []).count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given more than once; list each class once, in order")
        return labels
