"""The base of every config section: frozen, and closed to names it does not know. And the kinds of number they use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticKnownError

from tasks.config.sections.secrets import has_credentials


def _no_truth(value: object) -> object:
    # Python counts True as 1; in a config `max_steps: true` is a mistake, never a 1.
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


# Last in each type: bounds that come after a validator are missing from the JSON Schema.
NO_TRUTH = BeforeValidator(_no_truth)
Count = Annotated[int, Field(ge=1), NO_TRUTH]
WholeNotNegative = Annotated[int, Field(ge=0), NO_TRUTH]
Seed = Annotated[int, Field(ge=0, lt=2**32), NO_TRUTH]
Share = Annotated[float, Field(ge=0, lt=1), NO_TRUTH]
Positive = Annotated[float, Field(gt=0), NO_TRUTH]
NotNegative = Annotated[float, Field(ge=0), NO_TRUTH]


class Section(BaseModel):
    """One section of the config. `bare` names the field that a lone value of the section stands for."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )

    bare: ClassVar[str] = ""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The section's mapping from its short form: `model: some/path`, or an empty `export:`."""
        if value is None:
            return {}
        if cls.bare and isinstance(value, (str, list)):
            return {cls.bare: value}
        return value

    @field_validator("*", mode="after")  # a discriminator bears no other
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        """What a config says is written down in many places: records, forms, the saved model's own config."""
        if any(map(has_credentials, _texts(value))):
            raise ValueError(  # never with the value
                "credentials stand in this URL; leave them out and set environment variables instead, by hand or by "
                "`secrets` (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://; for sql: and web addresses write "
                "$NAME in the URL, the name of the variable)"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return cls.expand(value)


def _texts(value: Any) -> Iterator[str]:
    """All text within a value; other sections look after their own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for each in value.items() if isinstance(value, Mapping) else value:
            yield from _texts(each)
