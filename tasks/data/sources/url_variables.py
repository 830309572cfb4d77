"""`$NAME` in a URL: the environment's value is used, and the name is what is said and written down."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tasks.config.sections.secrets import without_credentials

VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
SHORTEST = 4  # what is shorter stands in innocent words too


@dataclass(frozen=True)
class Filled:
    """A URL as a config has it (`written`) and with the variables it names filled in (`url`)."""

    written: str
    url: str
    values: tuple[tuple[str, str], ...]

    def hide(self, text: str) -> str:
        """`text`, another's error say, with names in the places of values, and without passwords in URLs."""
        for name, value in sorted(self.values, key=lambda pair: -len(pair[1])):
            text = text.replace(value, f"${name}") if len(value) >= SHORTEST else text
        return without_credentials(text)


def filled(written: str) -> Filled:
    """Fill in the variables of a URL; a name that is not set stays as it is (`unset` tells)."""
    names = {a or b for a, b in VARIABLE.findall(written)} & os.environ.keys()
    return Filled(written, os.path.expandvars(written), tuple((name, os.environ[name]) for name in names))


def unset(written: str) -> str | None:
    """The first variable of a URL that is not set."""
    return next((a or b for a, b in VARIABLE.findall(written) if (a or b) not in os.environ), None)
