"""Pictures saved with a model; failure to draw one is a warning."""

from collections.abc import Callable

from tasks.evaluation.attempt import attempt
from tasks.runtime.build import Build


def draw(build: Build, name: str, function: Callable[[], bytes | None]) -> str | None:
    """Write a picture; return its name, or None if there is nothing to draw or drawing failed."""
    if drawn := attempt(f"drawing {name}", function, None, build.warn):
        (build.out / name).write_bytes(drawn)
    return name if drawn else None
