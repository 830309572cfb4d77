"""The inputs of a stage: values, artifacts, components, mappings of these, and arguments that are not in the key."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from tasks.artifacts.keys.code import Component
from tasks.artifacts.ref import ArtifactRef
from tasks.config.json_types import is_mapping
from tasks.runtime.context import RunContext


class Unkeyed(BaseModel):
    """Wraps an argument that does not affect a stage's result (paths, logging), and so is not in the key."""

    value: Any


class Pending(ArtifactRef):
    """In a plan, an artifact that is not built yet; stages that need it are pending too. As its bytes are unknown, its
    digest is derived from its key, so that equal artifacts compare equal."""

    @cached_property
    def digest(self) -> str:
        return f"of {self.key}"

    def select(self, *patterns: str) -> "Pending":
        return self

    def without(self, *names: str) -> "Pending":
        return self


def artifacts_in(inputs: Mapping[str, object]) -> dict[str, ArtifactRef]:
    """Return the artifacts among a stage's arguments: `{argument: artifact}`, and `{argument.name: artifact}` for those
    in a mapping.

    Raises:
        TypeError: a mapping holds other values besides artifacts, which would be missing in the key.
    """
    found: dict[str, ArtifactRef] = {}
    for name, value in inputs.items():
        if isinstance(value, ArtifactRef):
            found[name] = value
        elif is_mapping(value):
            inner = {f"{name}.{key}": each for key, each in value.items() if isinstance(each, ArtifactRef)}
            if inner and len(inner) < len(value):
                raise TypeError(f"{name}: a mapping of artifacts has other values too: {', '.join(map(str, value))}")
            found |= inner
    return found


def values_in(inputs: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments that enter a key by value: all but artifacts and `Unkeyed`."""
    by_digest = {name.partition(".")[0] for name in artifacts_in(inputs)}
    return {name: value for name, value in inputs.items() if name not in by_digest and not isinstance(value, Unkeyed)}


def described(value: object, components: tuple[str, ...]) -> object:
    """Return an argument as JSON, for a key; of a `Component` only what describes `components`."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Component):
        return value.describe(components)
    return {name: described(each, components) for name, each in value.items()} if is_mapping(value) else value


def modules_of(value: object, components: tuple[str, ...]) -> list[str]:
    """Return the modules of code that an argument refers to."""
    if isinstance(value, Component):
        return value.modules(components)
    inner = value.values() if is_mapping(value) else ()
    return [module for each in inner for module in modules_of(each, components)]


def opened(context: RunContext, inputs: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments for a stage's body: artifacts opened, `Unkeyed` unwrapped."""
    return {name: _opened(context, value) for name, value in inputs.items()}


def _opened(context: RunContext, value: object) -> object:
    if isinstance(value, Unkeyed):
        return _opened(context, value.value)
    if is_mapping(value):
        return {name: _opened(context, each) for name, each in value.items()}
    return context.open(value) if isinstance(value, ArtifactRef) else value
