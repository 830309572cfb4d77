"""`data`: the rows, their columns and classes, how they are split, and how long a row may be."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails

from tasks.config.sections.secrets import NO_CREDENTIALS
from tasks.config.sections.section import Count, Section, Seed, Share

Source = Annotated[str, Field(json_schema_extra=NO_CREDENTIALS)]
Sources = Annotated[Source, Field(min_length=1)] | Annotated[list[Source], Field(min_length=1)]
# Classes are often 0, 1 or 1 … 5, or true and false: a label is text, however it is written.
Label = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value),
]


def installed_roles() -> set[str]:
    """The names of the column roles that tasks bring which are installed beside this package."""
    tasks = (entry.load() for entry in entry_points(group="finetune_flow.objectives"))
    return {role.name for task in tasks for role in task.roles}


class ColumnsConfig(Section):
    """Which column holds what. Omit one, and it is found by its name. Tasks of other packages may have more roles."""

    model_config = ConfigDict(title="Columns", extra="allow")

    text: str | None = Field(default=None, description="Column with the text. Omit: found by its name.")
    text_pair: str | None = Field(default=None, description="Column with the second text of a pair, if there is one.")
    label: str | list[str] | None = Field(
        default=None, description="Column with the label (or a list of 0/1 columns, one a class). Omit: found by name."
    )
    tokens: str | None = Field(default=None, description="Column with the list of words, for token-classification.")
    tags: str | None = Field(default=None, description="Column with one tag a word, for token-classification.")
    sentence: str | None = Field(
        default=None, description="Column that says which sentence a word belongs to, where a row is one word."
    )
    spans: str | None = Field(
        default=None, description="Column with labelled character spans [{start, end, label}] of the text."
    )
    question: str | None = Field(default=None, description="Column with the question, for question-answering.")
    context: str | None = Field(default=None, description="Column with the text that holds the answer.")
    answers: str | None = Field(
        default=None, description="Column with the answers: {text: […], answer_start: […]}, a text, or a list of texts."
    )
    answer_start: str | None = Field(
        default=None, description="Column with where the answer begins in its context, if the answers do not say it."
    )
    source: str | None = Field(default=None, description="Column with the input text, for sequence-sequence.")
    target: str | None = Field(default=None, description="Column with the text to be produced.")

    @model_validator(mode="after")
    def _known(self) -> ColumnsConfig:
        known = installed_roles() if self.model_extra else set()
        problems = [
            InitErrorDetails(type="string_type" if name in known else "extra_forbidden", loc=(name,), input=column)
            for name, column in (self.model_extra or {}).items()
            if name not in known or not isinstance(column, str | None)
        ]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema admits the roles that are installed, and no typo."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        body["properties"] |= {role: {"type": ["string", "null"]} for role in installed_roles() - {*body["properties"]}}
        body["additionalProperties"] = False
        return schema


class SplitConfig(Section):
    """How rows are held out when no file is given for it."""

    model_config = ConfigDict(title="Split")

    validation: Share = Field(
        default=0.1, description="Share of train held out for validation, in [0, 1), unless data.validation is given."
    )
    test: Share = Field(
        default=0.0, description="Share of train held out for the final test, in [0, 1), unless data.test is given."
    )
    stratify: bool = Field(default=True, description="Keep the classes' shares equal in all parts.")
    seed: Seed = Field(default=0, description="Seed of the split. Apart from the run's, so runs share one split.")
    strategy: Literal["random", "hash"] = Field(
        default="random",
        description="random draws rows; hash sends each row by its own text, so it keeps its side when rows are added.",
    )
    group_by: str | None = Field(
        default=None, description="Column whose equal values stay on one side, e.g. the author. Omit: equal texts do."
    )
    hash_by: str | None = Field(default=None, description="Column that strategy hash reads. Omit: the text.")
    time: str | None = Field(
        default=None, description="Column with a time: the newest rows are the test, those before them the validation."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> SplitConfig:
        rules = {"group_by": self.group_by, "time": self.time, "strategy: hash": self.strategy == "hash"}
        said = [name for name, value in rules.items() if value]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} are two rules; valid: one of them")
        if self.hash_by and self.strategy != "hash":
            raise ValueError(f"hash_by {self.hash_by} is read by strategy hash only; valid: strategy: hash")
        return self

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
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "folder", "text", "conll"] = Field(
        default="auto", description="Format of the files. auto: by their names."
    )
    encoding: str = Field(
        default="auto", min_length=1, description="Text encoding. auto: utf-8, else cp1252 with a warning."
    )
    columns: ColumnsConfig = Field(default_factory=ColumnsConfig, description="Which column holds what.")
    labels: list[Label] | None = Field(
        default=None, min_length=1, description="The classes in order. Omit: those found in train, sorted."
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        description="What stands between several labels in one text, as the comma in red,green; none: a text is one "
        "label. Omit: texts are split, and it is said, where that is beyond doubt.",
    )
    split: SplitConfig = Field(default_factory=SplitConfig, description="How rows are held out.")
    dedupe: Literal["off", "exact"] = Field(
        default="off",
        description="exact: drop rows whose text repeats an earlier one (contradicting labels are reported first).",
    )
    leakage: Literal["error", "warn", "remove", "off"] | None = Field(
        default=None,
        description="Rows of validation or test whose text is in train too, exactly: error stops, warn says so and "
        "gives each metric without them too, remove leaves them out of train, off does not look. Omit: warn.",
    )
    near_duplicates: Literal["warn", "off"] = Field(
        default="warn",
        description="Say which rows of validation and test nearly repeat one of train, and which of train another.",
    )
    max_length: Count | None = Field(
        default=None, description="Longest row in tokens. Omit: what the model and the task allow."
    )
    overlong: Literal["truncate", "error", "drop", "window"] | None = Field(
        default=None,
        description="What becomes of rows over max_length, whose number is always reported: truncate cuts them, error "
        "stops the run, drop leaves them out, window makes several rows of one. Omit: the task's usual.",
    )
    stride: int | None = Field(
        default=None, ge=0, description="Tokens that neighbouring windows of one row share (overlong: window)."
    )
    prefix: str | None = Field(default=None, description="Put before every source text, for sequence-sequence.")
    max_target_length: Count | None = Field(
        default=None, description="Longest target in tokens, for sequence-sequence. Omit: what the task allows."
    )
    merge: Literal["concat", "pack", "none"] | None = Field(
        default=None,
        description="How texts become rows for language models: concat chains them and cuts at max_length, pack puts "
        "whole texts together up to max_length, none keeps one row a text. Omit: the task's usual.",
    )
    packing: bool | None = Field(
        default=None,
        description="Pack whole texts so that none sees another (positions restart, no attention across), for "
        "language-generation. Replaces merge.",
    )
    append_eos: bool | None = Field(
        default=None, description="End every text with the end token, so that a language model learns to stop."
    )
    label_all_tokens: bool = Field(
        default=False, description="Label every piece of a word, not only its first, for token-classification."
    )
    mlm_probability: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the tokens that are masked, for masked language models."
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
