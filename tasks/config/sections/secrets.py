"""`secrets`: environment variables and the Prefect Secret blocks they are set from. A config has names, never secrets.

One pattern, `CREDENTIALS`, defines what is a secret in a URL: config validation, the JSON Schema that a server checks,
and redaction of messages and logs all use it.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.config import JsonDict

from tasks.config.json_types import is_mapping

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
BLOCK = r"^[a-z0-9][a-z0-9-]*$"
HIDDEN = "(a secret)"
_QUOTES = "'\""


def _any_case(pattern: str) -> str:
    """Return the pattern with every letter in both cases: patterns in a JSON Schema have no flags."""
    return re.sub(r"(?<!\\)[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", pattern)


# Names of secrets in URL parameters and environment variables: words that indicate one anywhere in a name; words that
# do so at its end or before a separator (`token_1`, not `tokenizer`); short ones that do so only as a whole part of it
# (`db_pass`, not `bypass`).
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
# Ordinary if short (`?code=USD`), a key or a one-time code if long.
_AMBIGUOUS = rf"{_any_case('(?:code|ticket)')}=(?=[^&#;\s{_QUOTES}]{{16}})"

# An environment variable in place of the whole secret.
_REFERENCE = r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})"
_HIDDEN = r"\(a secret\)"
_USER = r"[^\s/@:\[]*"
_QUERY = rf":\s*{_any_case('(?:select|with)')}\b"  # of sql:<URL>::<SELECT …>
_NOT_NAMED = rf"(?!(?:(?:{_REFERENCE}|:)+|{_HIDDEN})@(?![^\s/?#]*@))"
# A password may contain `/`, `@` and spaces; it ends at the last `@` of the word with the first `@`. It never extends
# into another URL, or into a query.
_INSIDE = rf"(?!://|:{_QUERY})"
_PASSWORD = rf"{_NOT_NAMED}(?!\s|{_QUERY})(?:(?:{_INSIDE}[^\n@])+(?=@)|@)(?:{_INSIDE}\S)*(?=@)"
_PORT = r"(?!\d{1,5}(?:[/?#\s]|$))"
# The second part of a database's address is a port only if its path has no `@`: a password may be digits.
_DATABASE_PORT = r"(?![/:]|\d{1,5}(?:/[^@?#]*)?(?:[?#\s]|::|$))"
_DATABASE = rf"{_any_case('sql')}(?:\+\w+)?:(?:[^\s/@:]*:?//)?{_USER}:"
_TOKEN = r"(?=[^\s/@:]*[A-Z])(?=[^\s/@:]*[a-z])(?=[^\s/@:]*\d)[\w.~+=-]{16,}"  # unlike a user name
_NOT_FILE = r"(?:[^e]|[^l]e|[^i]le)://"  # the drive in file://C:/ is not a user

# Even groups are the secret, odd ones the text before it. No flags or Python-only syntax, for JSON Schema.
CREDENTIALS = re.compile(
    rf"({_DATABASE}{_DATABASE_PORT})({_PASSWORD})"
    rf"|({_NOT_FILE}{_USER}:{_PORT})({_PASSWORD})"
    rf"|({_any_case('https?')}://)({_NOT_NAMED}[^/\s@:]+)(?=@)"
    rf"|({_NOT_FILE})({_TOKEN})(?=@)"
    rf"|([?&#;](?:odbc_connect=)?(?:(?:{SECRET_NAME}|{_any_case('key')})=|{_AMBIGUOUS}))"
    rf"(?!{_REFERENCE}(?:[&#;\s{_QUOTES}]|::|$)|{_HIDDEN})([{_QUOTES}]?[^&#;\s{_QUOTES}]+)"
)


def has_credentials(text: str) -> bool:
    """Whether a URL in `text` contains a secret, percent-encoded or not."""
    return any(CREDENTIALS.search(each) for each in (text, unquote(text)))


def without_credentials(text: str) -> str:
    """Return `text` with every password and token in a URL replaced by `HIDDEN`; idempotent."""
    text = CREDENTIALS.sub(_hide, text)
    if CREDENTIALS.search(unquote(text)):  # its delimiters are percent-encoded
        text = re.sub(r"\S*%\S*", HIDDEN, text)
    return text


def _hide(found: re.Match[str]) -> str:
    return f"{next(group for group in found.groups()[::2] if group is not None)}{HIDDEN}"


# The same in JSON Schema, so that a server refuses such a text before storing it.
NO_CREDENTIALS: JsonDict = {"not": {"type": "string", "pattern": CREDENTIALS.pattern}}


def _names_only(value: object) -> object:
    """Validate without repeating a value in messages: it may be the secret itself."""
    if value is None:
        return {}
    if not is_mapping(value):
        raise ValueError("must be a mapping from names of environment variables to names of Secret blocks")
    for variable, block in value.items():
        if not isinstance(variable, str) or not re.match(VARIABLE, variable):
            raise ValueError("each key must be the name of an environment variable, e.g. AWS_SECRET_ACCESS_KEY")
        if not isinstance(block, str) or not re.match(BLOCK, block):
            raise ValueError(
                f"{variable}: this is not the name of a Secret block (lower-case letters, digits, dashes); put the "
                "secret into a block and write the block's name here"
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
