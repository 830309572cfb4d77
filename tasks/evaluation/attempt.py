"""Call code that must not end a run: its exceptions become warnings."""

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def attempt(what: str, function: Callable[[], Result], instead: Result, warn: Callable[[str], None]) -> Result:
    """Call `function`; if it raises, warn (naming `what`) and return `instead`."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 — a model that is trained must not be lost to a metric
        warn(f"{what} failed and is skipped: {type(error).__name__}: {error}")
        return instead
