"""`$NAME` in a URL: the environment's value is used, and only the name is logged and stored."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tasks.config.sections.secrets import without_credentials

VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
SHORTEST = 4  # shorter values occur in ordinary words too


@dataclass(frozen=True)
class Filled:
    """A URL as written in a config (`written`) and with its variables substituted (`url`)."""

    written: str
    url: str
    values: tuple[tuple[str, str], ...]

    def hide(self, text: str) -> str:
        """Return `text` (such as an error) with values replaced by names, and without passwords in URLs."""
        for name, value in sorted(self.values, key=lambda pair: -len(pair[1])):
            text = text.replace(value, f"${name}") if len(value) >= SHORTEST else text
        return without_credentials(text)


def filled(written: str) -> Filled:
    """Substitute the variables of a URL; those that are not set stay as they are (see `unset`)."""
    names = {a or b for a, b in VARIABLE.findall(written)} & os.environ.keys()
    return Filled(written, os.path.expandvars(written), tuple((name, os.environ[name]) for name in names))


def unset(written: str) -> str | None:
    """Return the first variable of a URL that is not set, if any."""
    return next((a or b for a, b in VARIABLE.findall(written) if (a or b) not in os.environ), None)
