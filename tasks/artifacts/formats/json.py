"""JSON members: keys sorted, indented, equal values give equal bytes."""

import json
import math
from pathlib import Path
from typing import Any

from tasks.config.json_types import is_mapping, is_sequence


def text(value: object) -> str:
    """Return `value` as JSON text. Raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write(value: object, path: Path) -> None:
    """Write `text(value)` to a file."""
    path.write_text(text(value))


def finite(value: object) -> Any:
    """Return `value` with None in place of every NaN and infinity, so that such metrics can be stored."""
    if is_mapping(value):
        return {name: finite(leaf) for name, leaf in value.items()}
    if is_sequence(value):
        return [finite(leaf) for leaf in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> Any:
    """Read what `write` wrote."""
    return json.loads(path.read_text())
