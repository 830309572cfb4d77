"""The default folder for cached data."""

import os
from pathlib import Path


def cache_home() -> Path:
    """Return `$XDG_CACHE_HOME/finetune-flow`, or `~/.cache/finetune-flow` if the variable is unset, empty, or (against
    its standard) relative."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "finetune-flow"
