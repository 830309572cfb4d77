"""The base class of config sections, frozen and without unknown names, and types of numbers and paths."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticKnownError

from tasks.config.json_types import JsonObject, is_mapping, is_sequence
from tasks.config.sections.secrets import has_credentials

Value = TypeVar("Value")


def _no_truth(value: object) -> object:
    # In Python True equals 1; in a config `max_steps: true` is a mistake.
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


# Last in each type: bounds after a validator would be missing in the JSON Schema.
NO_BOOL = BeforeValidator(_no_truth)
Count = Annotated[int, Field(ge=1), NO_BOOL]
WholeNotNegative = Annotated[int, Field(ge=0), NO_BOOL]
Seed = Annotated[int, Field(ge=0, lt=2**32), NO_BOOL]
Share = Annotated[float, Field(ge=0, lt=1), NO_BOOL]
Positive = Annotated[float, Field(gt=0), NO_BOOL]
NotNegative = Annotated[float, Field(ge=0), NO_BOOL]

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux


def _one_line(text: str) -> str:
    if not text.strip() or _has_control(text):
        raise ValueError(f"{text!a} given; valid: a single line of text that is not blank")
    return text


def _has_control(text: str) -> bool:
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


Text = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]


def check_path(path: str) -> str:
    """Return `path`, of a folder, a file or a URL, if it is valid on a file system.

    Raises:
        ValueError: it has control characters, or spaces at an end; it is too long; or it is in the home folder of an
            unknown user.
    """
    if has_credentials(path):  # the section refuses it, without showing the value
        return path
    if _has_control(path):
        raise ValueError(f"{path!a} given; valid: a path without control characters and line breaks")
    if path != path.strip():
        raise ValueError(f"{path!r} given; valid: a path without spaces at its beginning and end")
    names = [] if "://" in path else path.split("/")
    if len(path.encode()) > LONGEST_PATH or any(len(name.encode()) > LONGEST_NAME for name in names):
        raise ValueError(f"a path of {len(path)} characters given ({path[:40]}…); valid: up to {LONGEST_PATH} bytes, "
                         f"{LONGEST_NAME} in each folder or file name")  # fmt: skip
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path!r} given; there is no user {path.split('/')[0][1:]!r} on this machine") from None
    return path


def _no_url(path: str) -> str:
    if "://" in path and not has_credentials(path):
        raise ValueError(f"{path!r} given; valid: a folder on this machine, not a URL")
    return path


PathText = Annotated[str, AfterValidator(check_path)]
Folder = Annotated[PathText, AfterValidator(_no_url)]


class More:
    """Adds to a field's JSON Schema what is installed when the schema is made."""

    def __init__(self, more: Callable[[], JsonObject]) -> None:
        self.more = more

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        return handler(core) | self.more()


class Section(BaseModel):
    """One section of the config. `bare` is the field that a single value given for the section sets."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )

    bare: ClassVar[str] = ""

    @classmethod
    def expand(cls, value: object) -> object:
        """Return the section's mapping for a short form: `model: some/path`, or an empty `export:`."""
        if value is None:
            return JsonObject()
        return {cls.bare: value} if cls.bare and _is_short(value) else value

    @field_validator("*", mode="after")  # a discriminator allows no other mode
    @classmethod
    def _no_credentials(cls, value: object) -> object:
        return refuse_credentials(value)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return cls.expand(value)


def _is_short(value: object) -> bool:
    return isinstance(value, str | list | int | float) and not isinstance(value, bool)


def refuse_credentials(value: Value) -> Value:
    """Return `value` if no text in it is a URL with a secret, since configs are stored in records and saved models.

    Raises:
        ValueError: there is one; the message does not repeat it.
    """
    if any(map(has_credentials, _texts(value))):
        raise ValueError(
            "this URL contains credentials; remove them and set environment variables instead, yourself or with "
            "`secrets` (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://; for sql: and web addresses write "
            "$NAME in the URL, the name of the variable)"
        )
    return value


def _texts(value: object) -> Iterator[str]:
    """Yield all strings within a value, except in other sections, which check their own."""
    if isinstance(value, str):
        yield value
    elif is_mapping(value) or is_sequence(value):
        for each in value.items() if is_mapping(value) else value:
            yield from _texts(each)
