"""The key of a document: sha256 over its canonical JSON, the same in every process, on every machine.

Only what JSON can say without choice is accepted. Sets, NaN, paths and enums are refused by name rather than
rendered somehow, because "somehow" is what makes a key differ between two processes.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """Return `value` as canonical JSON text.

    Raises:
        TypeError: for anything but None, bool, int, finite float, str, and lists and str-keyed dicts of these.
    """
    return json.dumps(_plain(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(document: Mapping[str, Any]) -> str:
    """Return the 64 hexadecimal digits that name `document`."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _plain(value: Any, where: str) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value} has no place in a key")
        return value + 0.0  # -0.0 and 0.0 are equal
    if isinstance(value, Mapping):
        for name in value:
            if type(name) is not str:
                raise TypeError(f"{where}: the name {name!r} is a {type(name).__name__}; only text names a leaf")
        return {name: _plain(leaf, f"{where}.{name}") for name, leaf in value.items()}
    if kind in (list, tuple):
        return [_plain(leaf, f"{where}[{i}]") for i, leaf in enumerate(value)]
    raise TypeError(f"{where}: a {kind.__name__} has no canonical form; say it in JSON")
