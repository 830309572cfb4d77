"""`methods`: training methods that a run adds to plain fine-tuning, each with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator


def _without_those_off(value: Any) -> Any:
    """`layerwise_lr_decay: false` is no method, a list of names are methods as they come."""
    if isinstance(value, str | list):
        return {str(name): {} for name in ([value] if isinstance(value, str) else value)}
    if isinstance(value, Mapping):
        return {name: {} if options is True else options for name, options in value.items() if options is not False}
    return {} if value is None else value


MethodsConfig = Annotated[dict[str, Any], BeforeValidator(_without_those_off)]
"""Options by the name of a method. Which methods there are, and what their options are, is known to
`tasks.training.methods`; `tasks.objectives.presets` checks them."""
