"""`secrets`: environment variables and the Prefect Secret blocks they are set from. A config has names, never secrets.

What counts as a secret in a URL is one pattern, `CREDENTIALS`: the refusal of a config, the JSON Schema that a server
checks, and what is hidden in messages and logs all go by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
BLOCK = r"^[a-z0-9][a-z0-9-]*$"
HIDDEN = "(a secret)"
_QUOTES = "'\""


def _any_case(pattern: str) -> str:
    """The pattern with every letter in both cases: a JSON Schema's pattern has no flags."""
    return re.sub(r"(?<!\\)[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", pattern)


# Names of what is secret, as URL parameters and environment variables have them: words that tell it wherever they
# stand in a name; words that tell it at its end or before a separator (`token_1`, not `tokenizer`); short ones that
# tell it only as a whole part of it (`db_pass`, not `bypass`).
_ANYWHERE = (
    "password|passwd|passphrase|passcode|pwd|secret|credential|signature|authorization|"
    "(?:api|access|account|private|shared|signing|subscription|client|master)[-_.]?key"
)
_AT_END = "token|auth|jwt|bearer"
_MORE = r"[\w.-]{0,60}"  # bounded, for speed
_PART = "pass|pw|sas|sig|pat"
SECRET_NAME = _any_case(
    rf"(?:{_MORE}(?:{_ANYWHERE}){_MORE}|{_MORE}(?:{_AT_END})(?:[-_.\d]{_MORE})?|(?:{_MORE}[-_.])?(?:{_PART})\d{{0,9}})"
)
# Ordinary where short (`?code=USD`), a key or a one-time code where long.
_AMBIGUOUS = rf"{_any_case('(?:code|ticket)')}=(?=[^&#;\s{_QUOTES}]{{16}})"

# An environment variable stands in the place of a secret, all of it.
_REFERENCE = r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})"
_HIDDEN = r"\(a secret\)"
_USER = r"[^\s/@:\[]*"
_QUERY = rf":\s*{_any_case('(?:select|with)')}\b"  # of sql:<URL>::<SELECT …>
_NOT_NAMED = rf"(?!(?:(?:{_REFERENCE}|:)+|{_HIDDEN})@(?![^\s/?#]*@))"
# A password may hold `/`, `@` and spaces; it ends at the last `@` of the word in which the first one stands. It never
# reaches into another URL, or into a query.
_INSIDE = rf"(?!://|:{_QUERY})"
_PASSWORD = rf"{_NOT_NAMED}(?!\s|{_QUERY})(?:(?:{_INSIDE}[^\n@])+(?=@)|@)(?:{_INSIDE}\S)*(?=@)"
_PORT = r"(?!\d{1,5}(?:[/?#\s]|$))"
# The second part of a database's address is a port only if no `@` comes in its path: passwords are digits too.
_DATABASE_PORT = r"(?![/:]|\d{1,5}(?:/[^@?#]*)?(?:[?#\s]|::|$))"
_DATABASE = rf"{_any_case('sql')}(?:\+\w+)?:(?:[^\s/@:]*:?//)?{_USER}:"
_TOKEN = r"(?=[^\s/@:]*[A-Z])(?=[^\s/@:]*[a-z])(?=[^\s/@:]*\d)[\w.~+=-]{16,}"  # not a user's name, by its looks
_NOT_FILE = r"(?:[^e]|[^l]e|[^i]le)://"  # a drive, as in file://C:/, is no user

# Groups of even number hold the secret, those before them what leads to it. No flags and nothing of Python's own.
CREDENTIALS = re.compile(
    rf"({_DATABASE}{_DATABASE_PORT})({_PASSWORD})"
    rf"|({_NOT_FILE}{_USER}:{_PORT})({_PASSWORD})"
    rf"|({_any_case('https?')}://)({_NOT_NAMED}[^/\s@:]+)(?=@)"
    rf"|({_NOT_FILE})({_TOKEN})(?=@)"
    rf"|([?&#;](?:odbc_connect=)?(?:(?:{SECRET_NAME}|{_any_case('key')})=|{_AMBIGUOUS}))"
    rf"(?!{_REFERENCE}(?:[&#;\s{_QUOTES}]|::|$)|{_HIDDEN})([{_QUOTES}]?[^&#;\s{_QUOTES}]+)"
)


def has_credentials(text: str) -> bool:
    """Whether a secret itself stands in a URL in `text`, percent-encoded or not."""
    return any(CREDENTIALS.search(each) for each in (text, unquote(text)))


def without_credentials(text: str) -> str:
    """`text` with `HIDDEN` in the place of every password and token in a URL; doing it again changes nothing."""
    text = CREDENTIALS.sub(_hide, text)
    if CREDENTIALS.search(unquote(text)):  # where it begins and ends is encoded
        text = re.sub(r"\S*%\S*", HIDDEN, text)
    return text


def _hide(found: re.Match[str]) -> str:
    return f"{next(group for group in found.groups()[::2] if group is not None)}{HIDDEN}"


# The same as JSON Schema: a server that checks it refuses such a text before storing it.
NO_CREDENTIALS: JsonDict = {"not": {"type": "string", "pattern": CREDENTIALS.pattern}}


def _names_only(value: Any) -> Any:
    """Refusals never repeat a value: it may well be the secret itself."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("a mapping is needed: the name of an environment variable to the name of a Secret block")
    for variable, block in value.items():
        if not isinstance(variable, str) or not re.match(VARIABLE, variable):
            raise ValueError("each key must be the name of an environment variable, e.g. AWS_SECRET_ACCESS_KEY")
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
