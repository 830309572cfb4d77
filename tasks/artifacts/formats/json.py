"""JSON members: sorted, indented for people, equal values give equal bytes."""

import json
import math
from pathlib import Path
from typing import Any


def text(value: Any) -> str:
    """`value` as text. Raises ValueError for NaN and infinities, which JSON cannot say."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write(value: Any, path: Path) -> None:
    """Write `text(value)` to a file."""
    path.write_text(text(value))


def finite(value: Any) -> Any:
    """`value` with null in place of every NaN and infinity: what was measured may be neither, and still be kept."""
    if isinstance(value, dict):
        return {name: finite(leaf) for name, leaf in value.items()}
    if isinstance(value, list):
        return [finite(leaf) for leaf in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> Any:
    """Read what `write` wrote."""
    return json.loads(path.read_text())
