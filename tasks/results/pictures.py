"""Pictures beside a model; one that cannot be drawn is a warning."""

from collections.abc import Callable

from tasks.evaluation.attempt import attempt
from tasks.runtime.build import Build


def draw(build: Build, name: str, function: Callable[[], bytes | None]) -> str | None:
    """Write a picture; return its name, or None where there is nothing to draw."""
    if drawn := attempt(f"drawing {name}", function, None, build.warn):
        (build.out / name).write_bytes(drawn)
    return name if drawn else None
