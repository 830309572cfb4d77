"""`secrets`: which Prefect Secret block gives which environment variable. A config holds names, never secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
BLOCK = r"^[a-z0-9][a-z0-9-]*$"
# `$NAME` or `${NAME}`, to the end of what may be secret: an environment variable, which may stand in a config.
NAMED = r"(?!\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})(?:[@&#;:\s]|$))"
SECRET_WORDS = (
    "password", "passwd", "pwd", "secret", "token", "credential", "signature", "apikey", "api_key", "api-key",
    "accesskey", "access_key", "accountkey", "privatekey", "private_key", "auth",
)  # fmt: skip
_PARAMETER = "|".join("".join(f"[{x.upper()}{x}]" if x.isalpha() else x for x in word) for word in SECRET_WORDS)
# A password in a URL (`s3://key:secret@…`), a token in a web address, a secret among the parameters behind `?`.
# No flags and nothing of Python's own: it is a JSON Schema's pattern too.
CREDENTIALS = re.compile(
    rf"://[^/\s@:]*:{NAMED}[^/\s@]+@|https?://{NAMED}[^/\s@:]+@|^sql:\S*[^/\s:@]:{NAMED}[^/\s:@]+@"
    rf"|[?&#;](?:[\w.-]*(?:{_PARAMETER})[\w.-]*|[Ss][Ii][Gg]|[Kk][Ee][Yy])={NAMED}[^&#;\s]"
)
_SHOWN = re.compile(
    rf"(?P<before>://[^/\s@:]*:)[^/\s@]+(?P<after>@)|(?P<name>[?&#;][\w.-]*(?:{_PARAMETER}|[Ss][Ii][Gg])[\w.-]*=)[^&#;\s'\"]+"
)


def has_credentials(text: str) -> bool:
    """Whether a secret itself stands in a URL, percent-encoded or not."""
    return any(CREDENTIALS.search(each) for each in (text, unquote(text)))


def without_credentials(text: str, instead: str) -> str:
    """`text` with `instead` in the place of every password and token in a URL."""
    return _SHOWN.sub(lambda found: f"{found['before'] or found['name']}{instead}{found['after'] or ''}", text)


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
