"""Fills values that the user did not set from layers of defaults; the first layer with a value wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.leaves import assign, given, leaves
from tasks.config.reading.problems import problems
from tasks.config.sections.run import RunConfig


@dataclass(frozen=True)
class Layer:
    """Defaults with the name of their source, e.g. Layer("preset txtai", {"train.learning_rate": 3e-5})."""

    label: str
    values: Mapping[str, Any]


def fill(config: RunConfig, origin: Mapping[str, str], layers: Sequence[Layer]) -> tuple[RunConfig, dict[str, str]]:
    """Return the config with unset values filled, and the origin of every value.

    `train.<name>` of a layer may be any training argument; a `peft` value is skipped if the chosen method has no such
    field.
    """
    present = {leaf.path: leaf.is_set for leaf in leaves(config)}
    filled: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        for path, value in layer.values.items():
            inapplicable = path.startswith("peft.") and path not in present
            if not (inapplicable or present.get(path)):
                filled.setdefault(path, (value, layer.label))
    tree = given(config)
    for path, (value, _) in filled.items():
        assign(tree, path, value)
    try:
        whole = RunConfig.model_validate(tree)
    except ValidationError as error:
        lines = [
            f"- {filled[found.path][1] if found.path in filled else 'config'}: {found.path}: {found.text}"
            for found in problems(error)
        ]
        raise ConfigError("\n".join(["the defaults do not fit this config:", *lines])) from None
    return whole, {leaf.path: _origin(leaf.path, origin, present, filled) for leaf in leaves(whole)}


def _origin(
    path: str, origin: Mapping[str, str], present: Mapping[str, bool], filled: Mapping[str, tuple[Any, str]]
) -> str:
    if present.get(path):
        return origin.get(path, "parameters")
    return filled[path][1] if path in filled else "default"
