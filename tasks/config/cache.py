"""The default folder for what can be recomputed."""

import os
from pathlib import Path


def cache_home() -> Path:
    """`$XDG_CACHE_HOME/finetune-flow`; where that is not set, empty, or (which its standard forbids) relative,
    `~/.cache/finetune-flow`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "finetune-flow"
