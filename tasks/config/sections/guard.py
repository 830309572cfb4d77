"""`eval.guard`: abilities that a training must not lose."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from tasks.config.json_types import JsonObject, is_mapping, is_sequence
from tasks.config.sections.data import Sources
from tasks.config.sections.section import NotNegative, PathText, Section, Text

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} given; valid: letters, digits, -, _ and .")
    return name


class GuardConfig(Section):
    """What a model could do before, measured before and after training."""

    bare: ClassVar[str] = "data"

    model: PathText | None = Field(
        default=None,
        min_length=1,
        description="A model that was trained for the guarded task from the same base: the folder of a run, or a model "
        "of the hub. Its head is put on the trained model. Omit: model.name of this run.",
    )
    data: Sources | dict[str, Any] | None = Field(
        default=None,
        description="The rows to measure on: a file, folder or URL, or a list of them; or a mapping, as the section "
        "data, of which test (else validation) is used. Omit: the rows that the model's config.resolved.yaml names.",
    )
    task: Text | None = Field(
        default=None,
        description="The guarded task. Omit: that of the model's config.resolved.yaml; without one, that of this run.",
    )
    name: Annotated[Text, AfterValidator(_plain)] | None = Field(
        default=None,
        description="For metrics (guard_NAME_…) and messages: letters, digits, -, _ and . only. Omit: that of the "
        "model's folder; without a model, that of the file in data.",
    )
    metric: Text | None = Field(
        default=None, description="A metric of the guarded task. Omit: its best-known one, such as accuracy or f1."
    )
    max_drop: NotNegative | None = Field(
        default=None,
        description="Largest worsening of the metric that is allowed, in its units. Omit: it is only reported.",
    )
    on_drop: Literal["fail", "warn"] = Field(
        default="fail",
        description="If it worsens by more than max_drop: fail (the model is not saved; the training stays in the "
        "store), or warn.",
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> GuardConfig:
        if self.max_drop is None and self.on_drop != type(self).model_fields["on_drop"].default:
            raise ValueError(f"on_drop: {self.on_drop} given without max_drop, the largest drop that is allowed")
        return self

    def called(self, base: str) -> str:
        """Return the name.

        Args:
            base: `model.name` of the run.
        """
        if self.name:
            return self.name
        if self.model or self.data is None:
            return _named(PurePath(self.model or base).name)
        rows: Any = self.data
        if is_mapping(rows):
            rows = rows.get("test") or rows.get("train") or "rows"
        first: object = rows[0] if is_sequence(rows) and rows else rows
        return _named(PurePath(str(first)).name.partition(".")[0])


def _named(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "guard"


class _ShortForm:
    """Adds to an item's JSON Schema that it may be a text."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        return {"anyOf": [handler(core), {"type": "string"}]}


def _listed(value: object) -> object:
    if value is None:
        return []
    return [value] if isinstance(value, str | GuardConfig) or is_mapping(value) else value


Guards = Annotated[list[Annotated[GuardConfig, _ShortForm()]], BeforeValidator(_listed)]
