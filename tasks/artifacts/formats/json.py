"""JSON members: sorted, indented for people, equal values give equal bytes."""

import json
from pathlib import Path
from typing import Any


def text(value: Any) -> str:
    """`value` as text. Raises ValueError for NaN and infinities, which JSON cannot say."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write(value: Any, path: Path) -> None:
    """Write `value` as `text` says it."""
    path.write_text(text(value))


def read(path: Path) -> Any:
    """Read what `write` wrote."""
    return json.loads(path.read_text())
