"""A user's package, as pip would install it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.config.formats import formats
from tasks.objectives import objectives
from tasks.objectives.metrics import installed_metrics
from tasks.training.methods import methods

PACKAGE = Path(__file__).parent / "package"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package in `sys.path`; what was known of installed packages is forgotten before and after."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    caches = (objectives, methods, formats, installed_metrics)
    for cache in caches:
        cache.cache_clear()
    yield
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()
