"""How values of a label column become class names, and which strings name the same class.

The rule is the same for train, validation, test, prediction, evaluation and `data.labels`, and for typed and untyped
files:

| value                      | class name   | same class as                                     |
|----------------------------|--------------|---------------------------------------------------|
| `1`, `1.0`, `"1.0"`, `"1."` | `1`          | each other and `+1`                               |
| `"+1"`, `"+1.0"`           | `+1`         | `1`; of both spellings in train `1` is the name   |
| `-1`, `"-1"`, `"-1.0"`     | `-1`         | each other                                        |
| `0`, `-0.0`, `"-0"`, `"+0"` | `0`          | each other                                        |
| `true` (a boolean)         | `true`       | the texts `true`, `True`, `TRUE`; false alike     |
| `"True"`                   | `True`       | `true`, `TRUE`                                    |
| `"01"`, `"1e0"`, `" 1"`    | unchanged    | nothing else: it is a string                      |
| null, NaN, `""`, `" "`     | none         | a missing label, an error                         |
| `"nan"`, `"None"`, `"NA"`, … among numbers or booleans only | none | a missing label, an error |
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute creates its functions at run time, invisible to type checkers)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.config.errors import ConfigError
from tasks.data.messages import first

INTEGER = r"(?:0|[1-9][0-9]*)"
FRACTION = rf"^([-+]?{INTEGER})\.0*$"
REAL = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?\s*$"
BOOLEANS = ("True", "TRUE", "False", "FALSE")
MISSING = {"nan", "none", "null", "na", "n/a", "<na>", "nat"}
WRITTEN = {"nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "NaT"}  # as written by pandas, numpy, Python and SQL


def names_of(texts: pa.Array) -> pa.Array:
    """Return the class names of an Arrow array of strings; see the module's table."""
    whole = pc.replace_substring_regex(texts, FRACTION, r"\1")
    return pc.replace_substring_regex(whole, r"^[-+]0$", "0")


def keys_of(names: pa.Array) -> pa.Array:
    """Return the comparison keys of an Arrow array of strings: equal for strings that name the same class."""
    plain = pc.replace_substring_regex(names_of(names), rf"^\+({INTEGER})$", r"\1")
    return pc.if_else(pc.is_in(plain, value_set=pa.array(BOOLEANS)), pc.utf8_lower(plain), plain)


def keys(names: Sequence[str]) -> list[str]:
    """Return `keys_of` for a list."""
    return keys_of(pa.array(names, pa.string())).to_pylist()


def distinct(names: Sequence[str]) -> list[str]:
    """Return one name for each class, sorted by code point: of several spellings the plain one (`1`, `true`), else
    the first by code point."""
    spellings: dict[str, list[str]] = {}
    for name, key in zip(names, keys(names), strict=True):
        spellings.setdefault(key, []).append(name)
    return sorted(key if key in each else min(each) for key, each in spellings.items())


def declared(given: Sequence[str]) -> list[str]:
    """Return the class names that `data.labels` lists.

    Raises:
        ConfigError: two of them name the same class.
    """
    names: Mapping[str, list[str]] = {}
    for name, key in zip(given, keys(given), strict=True):
        names.setdefault(key, []).append(name)
    for each in names.values():
        if len(set(each)) > 1:
            raise ConfigError(f"data.labels: {' and '.join(map(repr, each))} name the same class; list one of them")
    if twice := sorted(each[0] for each in names.values() if len(each) > 1):
        raise ConfigError(f"data.labels: lists {first(twice)} twice")
    return names_of(pa.array(given, pa.string())).to_pylist()


def missing_among(names: Sequence[str]) -> list[str]:
    """Return the names that mean a missing label (`nan`, `None`, …), if all other labels are numbers or booleans."""
    found = [name for name in names if name.strip().lower() in MISSING]
    others = set(names) - set(found)
    plain = all(re.match(REAL, name) or name.lower() in ("true", "false") for name in others)
    return found if others and plain else []


def missing_warnings(names: Sequence[str], field: str) -> list[str]:
    """Warn of class names that programs write for a missing value, if other names are not numbers."""
    found = sorted(repr(name) for name in names if name in WRITTEN)
    if not found:
        return []
    return [f"{field}: {first(found)} is read as a class name; if it means a missing label, remove the rows"]
