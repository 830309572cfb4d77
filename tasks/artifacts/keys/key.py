"""The key of a document: sha256 over its canonical JSON, the same in every process, on every machine.

Only values with a single JSON form are accepted. Sets, NaN, paths and enums are refused rather than converted, because
an ambiguous conversion would make keys differ between processes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from tasks.config.json_types import is_mapping, is_sequence


def canonical(value: object) -> str:
    """Return `value` as canonical JSON text.

    Raises:
        TypeError: for anything but None, bool, int, finite float, str, and lists and str-keyed dicts of these.
    """
    return json.dumps(_plain(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(document: Mapping[str, Any]) -> str:
    """Return the sha256 of `document`'s canonical JSON as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _plain(value: object, where: str) -> object:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value} is not allowed in a key; numbers must be finite")
        return value + 0.0  # -0.0 and 0.0 are equal
    if is_mapping(value):
        for name in value:
            if type(name) is not str:
                raise TypeError(f"{where}: the key {name!r} is a {type(name).__name__}; it must be a str")
        return {name: _plain(leaf, f"{where}.{name}") for name, leaf in value.items()}
    if kind in (list, tuple) and is_sequence(value):
        return [_plain(leaf, f"{where}[{i}]") for i, leaf in enumerate(value)]
    raise TypeError(
        f"{where}: a {kind.__name__} has no canonical form; use None, bool, int, float, str, a list or a dict"
    )
