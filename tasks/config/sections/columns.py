"""`data.columns`: the column of each role."""

from __future__ import annotations

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails

from tasks.config.plugins import installed
from tasks.config.sections.section import Section


def installed_roles() -> set[str]:
    """Return the names of the column roles of tasks from other installed packages."""
    tasks = installed("finetune_flow.objectives", object).values()
    return {role.name for task in tasks for role in getattr(task, "roles", ())}


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
    messages: str | None = Field(
        default=None,
        description="Column with the conversation, [{role, content}, …] or [{from, value}, …]. Omit: found by name.",
    )
    prompt: str | None = Field(
        default=None,
        description="Column with what a model is to answer: a text, or messages. Omit: found by its name.",
    )
    input: str | None = Field(
        default=None,
        description="Column with a text that follows the prompt, as in the Alpaca format. Omit: found by its name.",
    )
    completion: str | None = Field(
        default=None,
        description="Column with the answer: a text, or messages. Omit: found by its name.",
    )
    chosen: str | None = Field(
        default=None,
        description="Column with the preferred answer: a text, or messages. Omit: found by its name.",
    )
    rejected: str | None = Field(
        default=None,
        description="Column with the other answer: a text, or messages. Omit: found by its name.",
    )
    margin: str | None = Field(
        default=None,
        description="Column with how much better the preferred answer is, for reward. Omit: found by its name.",
    )
    system: str | None = Field(
        default=None,
        description="Column with the system message. Omit: found by its name.",
    )
    history: str | None = Field(
        default=None,
        description="Column with earlier turns, [[question, answer], …]. Omit: found by its name.",
    )
    tools: str | None = Field(
        default=None,
        description="Column with the functions that a model may call. Omit: found by its name.",
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
