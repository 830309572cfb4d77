"""`data`: the rows, their columns and classes, how they are split, and their maximum length."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails

from tasks.config.sections.secrets import NO_CREDENTIALS
from tasks.config.sections.section import Count, Section, Seed, Share

Source = Annotated[str, Field(json_schema_extra=NO_CREDENTIALS)]
Sources = Annotated[Source, Field(min_length=1)] | Annotated[list[Source], Field(min_length=1)]
# Classes are often 0, 1 or 1 … 5, or true and false; labels are always converted to text.
Label = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value),
]


def installed_roles() -> set[str]:
    """Return the names of the column roles of tasks from other installed packages."""
    tasks = (entry.load() for entry in entry_points(group="finetune_flow.objectives"))
    return {role.name for task in tasks for role in task.roles}


class ColumnsConfig(Section):
    """The columns of the data. Omitted ones are found by name. Tasks of other packages may have more roles."""

    model_config = ConfigDict(title="Columns", extra="allow")

    text: str | None = Field(default=None, description="Column with the text. Omit: found by its name.")
    text_pair: str | None = Field(
        default=None,
        description="Column with the second text of a pair. Omit: found by its name, if there is one.",
    )
    label: str | list[str] | None = Field(
        default=None,
        description="Column with the label (or a list of 0/1 columns, one per class). Omit: found by name.",
    )
    tokens: str | None = Field(
        default=None,
        description="Column with the list of words, for token-classification. Omit: found by its name.",
    )
    tags: str | None = Field(
        default=None,
        description="Column with one tag per word, for token-classification. Omit: found by its name.",
    )
    sentence: str | None = Field(
        default=None,
        description="Column with the id of a word's sentence, if each row is one word. Omit: found by its name.",
    )
    spans: str | None = Field(
        default=None,
        description="Column with labelled character spans [{start, end, label}] of the text. Omit: found by its name.",
    )
    question: str | None = Field(
        default=None,
        description="Column with the question, for question-answering. Omit: found by its name.",
    )
    context: str | None = Field(
        default=None,
        description="Column with the text that holds the answer. Omit: found by its name.",
    )
    answers: str | None = Field(
        default=None,
        description="Column with the answers: {text: […], answer_start: […]}, a text, or texts. Omit: found by name.",
    )
    answer_start: str | None = Field(
        default=None,
        description="Column with where the answer begins in its context. Omit: found by name, or as the answers say.",
    )
    source: str | None = Field(
        default=None,
        description="Column with the input text, for sequence-sequence. Omit: found by its name.",
    )
    target: str | None = Field(
        default=None,
        description="Column with the text to generate. Omit: found by its name.",
    )

    @model_validator(mode="after")
    def _known(self) -> ColumnsConfig:
        known = installed_roles() if self.model_extra else frozenset[str]()
        problems = [
            InitErrorDetails(type="string_type" if name in known else "extra_forbidden", loc=(name,), input=column)
            for name, column in (self.model_extra or {}).items()
            if name not in known or not isinstance(column, str | None)
        ]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Allow only the installed roles in the schema, so that typos are refused."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        body["properties"] |= {role: {"type": ["string", "null"]} for role in installed_roles() - {*body["properties"]}}
        body["additionalProperties"] = False
        return schema


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
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "folder", "text", "conll"] = Field(
        default="auto", description="Format of the files. auto: by file name."
    )
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
        description="exact: drop rows whose text repeats an earlier one (contradicting labels are reported first).",
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
        "language-generation. Replaces merge. Omit: false.",
    )
    append_eos: bool | None = Field(
        default=None, description="Append the end token to every text, so that a language model learns to stop."
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
