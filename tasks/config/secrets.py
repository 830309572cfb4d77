"""`secrets`: which Prefect Secret block gives which environment variable. A config holds names, never secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
BLOCK = r"^[a-z0-9][a-z0-9-]*$"
# A password in a URL (`s3://key:secret@…`) or a token in a web address; `$NAME`, an environment variable, is neither.
CREDENTIALS = re.compile(r"://[^/\s@:]*:[^/\s@$][^/\s@]*@|\bhttps?://[^/\s@:$][^/\s@:]*@")
# The same for a JSON Schema: a server that knows it refuses such a text before it is stored anywhere.
NO_CREDENTIALS: JsonDict = {"not": {"type": "string", "pattern": CREDENTIALS.pattern}}


def _names_only(value: Any) -> Any:
    """Refusals never repeat a value: it may well be the secret itself."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("a mapping is needed: the name of an environment variable to the name of a Secret block")
    for variable, block in value.items():
        if not isinstance(variable, str) or not re.match(VARIABLE, variable):
            raise ValueError("on the left stands the name of an environment variable, e.g. AWS_SECRET_ACCESS_KEY")
        if not isinstance(block, str) or not re.match(BLOCK, block):
            raise ValueError(
                f"{variable}: this is not the name of a Secret block (small letters, digits, dashes); put the secret "
                "into such a block and write its name here"
            )
    return dict(value)


Secrets = Annotated[
    dict[str, str],
    BeforeValidator(_names_only),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": VARIABLE},
            "additionalProperties": {"type": "string", "pattern": BLOCK},
        }
    ),
]
