"""A section with more fields than are written out in its class: those of a library's class, by the library's names."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Self, cast

from pydantic import ConfigDict, GetJsonSchemaHandler, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticKnownError

from tasks.config.json_types import JsonObject, is_mapping
from tasks.config.sections.section import Section


class OpenSection(Section):
    """The problems of all fields are reported together, in the order of the mapping."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def with_current_names(cls, given: JsonObject) -> JsonObject:
        """Return the mapping with the present names of fields that had others."""
        return given

    @classmethod
    def check_field(cls, name: str, value: Any, given: JsonObject) -> object:
        """Return a field's value, in its type unless the field is written out.

        Args:
            given: the whole mapping.

        Raises:
            ValueError: it cannot be set here, or the value is invalid; PydanticKnownError if there is no such field.
        """
        raise NotImplementedError

    @classmethod
    def other_names(cls) -> Set[str]:
        """Return the names that may be given besides the fields that are written out."""
        raise NotImplementedError

    @model_validator(mode="wrap")
    @classmethod
    def _check_fields(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        value = cls.expand(value)
        if not is_mapping(value):
            return handler(value)
        given = cls.with_current_names(cast(JsonObject, dict(value)))
        good, problems = JsonObject(), list[InitErrorDetails]()
        for name, each in given.items():
            try:
                good[name] = cls.check_field(name, each, given)
            except PydanticKnownError as error:
                problems.append(InitErrorDetails(type=error.type, loc=(name,), input=each))
            except ValueError as error:
                problems.append(InitErrorDetails(type="value_error", loc=(name,), input=each, ctx={"error": error}))
        try:
            valid = handler(good)
            if not problems:
                return valid
        except ValidationError as error:
            problems += [
                InitErrorDetails(type=found["type"], loc=found["loc"], input=found["input"], ctx=found.get("ctx", {}))
                for found in error.errors()
            ]
        raise ValidationError.from_exception_data(cls.__name__, problems)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The form shows the written-out fields; a pattern allows the other names, so that typos are refused."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        others = cls.other_names() - set(body["properties"])
        body["patternProperties"] = {f"^({'|'.join(map(re.escape, sorted(others)))})$": {}}
        body["additionalProperties"] = False
        return schema
