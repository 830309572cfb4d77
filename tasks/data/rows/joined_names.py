"""Detects class names that look like several others joined, such as `a/b` if `a` and `b` are classes too."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

from tasks.config.errors import DataError
from tasks.data.messages import first

SEPARATORS = (",", ";", "|")
"""Usual separators of labels, at which strings are split if that is certain."""

NEVER = "none"
WEAK = " \u00a0-_."
"""Separators that also occur within the name of one class (`New York`, `comp.sys.ibm`)."""

NUMERIC = re.compile(r"[-+]?\d*[.,]?\d+")


def parts_of(text: str | None, separator: str) -> list[str]:
    """Return the names between separators, stripped, without empty ones."""
    return [part for part in (each.strip() for each in (text or "").split(separator)) if part]


def raise_or_warn(names: Sequence[str], settled: bool = False) -> list[str]:
    """Return warnings about names that look joined but are read as one class each.

    A part of a name is known if it is a class by itself. Names joined by punctuation are an error if all parts of one
    are known; those joined by a space or one of `-_.` if that holds for every name with that separator, and at least
    two; otherwise they give a warning. So does punctuation with parts that are first in one name and later in another,
    as in `red/green`, `green/blue`, `blue`.

    Args:
        names: of the classes, distinct.
        settled: whether the user set `data.label_separator`: then there are only warnings.

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
                f"name each; set data.label_separator: {quoted(separator)} to split them, or {NEVER} to read each as "
                "one name"
            )
        likely = _likely(joined, known, separator) if separator not in WEAK else full or _several(names, separator)
        if likely or (separator in SEPARATORS and joined and not settled):
            warnings.append(f"data.train: {shown(likely or joined)}: labels with {quoted(separator)} in them are read "
                            f"as one name each (data.label_separator: {quoted(separator)} splits them)")  # fmt: skip
    return warnings


def _several(names: Sequence[str], separator: str) -> list[str]:
    """Return the names joined by a space, if every name consists of whole numbers, or parts are first in one name and
    later in another, as in `haze primary`, `clear haze`."""
    joined = [name for name in names if len(set(parts_of(name, separator))) > 1]
    if not separator.isspace():
        return []
    if all(part.isdecimal() for name in names for part in parts_of(name, separator)):
        return joined
    parts = [parts_of(name, separator) for name in joined]
    varied = _varied(parts)
    return [name for name, each in zip(joined, parts, strict=True) if varied & set(each)]


def shown(names: Sequence[str]) -> str:
    return first([repr(name) for name in names], 3)


def quoted(separator: str) -> str:
    """Return a separator as it is written in YAML."""
    return repr(separator) if separator.isprintable() and separator not in "\\'" else json.dumps(separator)


def _candidates(names: Sequence[str]) -> list[str]:
    """Return every punctuation mark, symbol and whitespace character in the names, usual separators first."""
    found = {
        letter for name in names for letter in name if unicodedata.category(letter)[0] in "PSZ" or letter.isspace()
    }
    return [*(each for each in SEPARATORS if each in found), *sorted(found - {*SEPARATORS})]


def _likely(joined: Sequence[str], known: set[str], separator: str) -> list[str]:
    """Return the names with parts that all are classes, or first in one name and later in another."""
    parts = [parts_of(name, separator) for name in joined]
    known = known | _varied(parts)
    return [name for name, each in zip(joined, parts, strict=True) if set(each) <= known]


def _varied(names: Sequence[Sequence[str]]) -> set[str]:
    """Return the parts that are first in one name and later in another."""
    return {parts[0] for parts in names} & {part for parts in names for part in parts[1:]}
