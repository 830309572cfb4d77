"""What an evaluation needs of the build that it is part of."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

Computing: TypeAlias = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Given what is done with rows, a context in which torch is configured; it yields a function to call with rows done and
in total."""


class Host(Protocol):
    """Where files are written, and where lines for the user go."""

    @property
    def out(self) -> Path: ...

    @property
    def info(self) -> Callable[[str], None]: ...

    def warn(self, message: str) -> None: ...
