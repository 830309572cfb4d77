"""Class names that look like several other class names joined, such as `a/b` where `a` and `b` are classes too."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

from tasks.config.errors import DataError
from tasks.data.messages import first

SEPARATORS = (",", ";", "|")
"""What usually separates labels: texts are split at these where it is certain."""

NEVER = "none"
WEAK = " \u00a0-_."
"""What also stands within names of one class (`New York`, `comp.sys.ibm`)."""

NUMERIC = re.compile(r"[-+]?\d*[.,]?\d+")


def parts_of(text: str | None, separator: str) -> list[str]:
    """The names between separators, without the whitespace around them and without empty ones."""
    return [part for part in (each.strip() for each in (text or "").split(separator)) if part]


def raise_or_warn(names: Sequence[str], settled: bool = False) -> list[str]:
    """Warnings about names that look joined, though they are taken as one class each.

    A part of a name is known if it is a class by itself. Names joined by punctuation are refused where all parts of
    one are known; those joined by a space or one of `-_.` where that holds for every name with that separator, and
    two at least; else they are warned of. A warning is also given for punctuation whose parts stand first in one
    name and later in another, as in `red/green`, `green/blue`, `blue`.

    Args:
        names: of the classes, distinct.
        settled: whether the user set `data.label_separator`: then nothing is refused.

    Raises:
        DataError: the names are more likely joined than not.
    """
    warnings: list[str] = []
    known = set(names)
    for separator in _candidates(names):
        joined = [name for name in names if len(set(parts_of(name, separator))) > 1 and not NUMERIC.fullmatch(name)]
        full = [name for name in joined if set(parts_of(name, separator)) <= known]
        certain = len(full) == len(joined) > 1 if separator in WEAK else bool(full)
        if certain and not settled:
            raise DataError(
                f"data.train: labels such as {shown(full)} may be several names joined by {quoted(separator)}, or one "
                f"name each; set data.label_separator: {quoted(separator)} to split them, or {NEVER} to take each as "
                "one name"
            )
        likely = full if separator in WEAK else _likely(joined, known, separator)
        if likely or (separator in SEPARATORS and joined and not settled):
            warnings.append(f"data.train: {shown(likely or joined)}: labels with {quoted(separator)} in them are taken "
                            f"as one name each; data.label_separator: {quoted(separator)} splits them")  # fmt: skip
    return warnings


def shown(names: Sequence[str]) -> str:
    return first([repr(name) for name in names], 3)


def quoted(separator: str) -> str:
    """A separator as YAML reads it."""
    return repr(separator) if separator.isprintable() and separator not in "\\'" else json.dumps(separator)


def _candidates(names: Sequence[str]) -> list[str]:
    """Every punctuation mark, symbol and whitespace character in the names; the usual separators first."""
    found = {
        letter for name in names for letter in name if unicodedata.category(letter)[0] in "PSZ" or letter.isspace()
    }
    return [*(each for each in SEPARATORS if each in found), *sorted(found - {*SEPARATORS})]


def _likely(joined: Sequence[str], known: set[str], separator: str) -> list[str]:
    """The names of which every part is a class, or stands first in one name and later in another."""
    parts = [parts_of(name, separator) for name in joined]
    varied = {each[0] for each in parts} & {part for each in parts for part in each[1:]}
    known = known | varied
    return [name for name, each in zip(joined, parts, strict=True) if set(each) <= known]
