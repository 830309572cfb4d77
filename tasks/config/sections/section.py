"""The base of every config section, which is frozen and refuses unknown names, and the numbers and paths they use."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
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
Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32), NO_TRUTH]
Share = Annotated[float, Field(ge=0, lt=1), NO_TRUTH]
Positive = Annotated[float, Field(gt=0), NO_TRUTH]
NotNegative = Annotated[float, Field(ge=0), NO_TRUTH]

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on Linux


def check_path(path: str) -> str:
    """Return `path`, of a folder, a file or a URL, if a file system can have it.

    Raises:
        ValueError: it has control characters, or spaces at an end; it is too long; or it is in the home folder of a
            user who does not exist.
    """
    if has_credentials(path):  # refused by the section, without the value
        return path
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in path):
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
        if cls.bare and isinstance(value, str | list | int | float) and not isinstance(value, bool):
            return {cls.bare: value}
        return value

    @field_validator("*", mode="after")  # a discriminator bears no other
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        return refuse_credentials(value)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return cls.expand(value)


def refuse_credentials(value: Any) -> Any:
    """Return `value` if no text in it is a URL with a secret: configs are stored in records, forms and saved models.

    Raises:
        ValueError: one is; the message never repeats it.
    """
    if any(map(has_credentials, _texts(value))):
        raise ValueError(
            "this URL contains credentials; leave them out and set environment variables instead, by hand or by "
            "`secrets` (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://; for sql: and web addresses write "
            "$NAME in the URL, the name of the variable)"
        )
    return value


def _texts(value: Any) -> Iterator[str]:
    """All text within a value, except in other sections, which check their own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for each in value.items() if isinstance(value, Mapping) else value:
            yield from _texts(each)
