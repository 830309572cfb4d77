"""Loads a config of any kind: of one run, of a sweep, or of a chain of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.config.reading.chain import LoadedChain, load_chain
from tasks.config.reading.draft import make_draft
from tasks.config.reading.load import Loaded, LoadedSweep, validate, validate_sweep
from tasks.config.sections.run import RunConfig


def load_either(
    source: str | Path | Mapping[str, Any] | RunConfig, overrides: Sequence[str] = ()
) -> Loaded | LoadedSweep | LoadedChain:
    """Load and validate a config, with its `steps`, `continual` or `sweep` if it has them."""
    values = make_draft(source, ()).values
    if any(values.get(name) is not None for name in ("steps", "continual")):
        return load_chain(source, overrides)
    draft = make_draft(source, overrides)
    return validate(draft) if draft.values.get("sweep") is None else validate_sweep(draft)
