"""What evaluation reads of an artifact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Opened(Protocol):
    """An open artifact."""

    def view(self) -> Path:
        """Return a folder with its files."""
        ...

    def externals(self) -> Mapping[str, Path]:
        """Return the files that it refers to, by name."""
        ...

    def json(self, name: str) -> Any:
        """Return what a file of JSON contains."""
        ...
