"""What a stage may be given: values, artifacts, components, mappings of these, and what stands in no key."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from tasks.artifacts.keys.code import Component
from tasks.artifacts.ref import ArtifactRef
from tasks.runtime.context import RunContext


class Unkeyed(BaseModel):
    """Wraps an argument that changes how a stage is watched or placed, not what it makes: it is not in the key."""

    value: Any


class Pending(ArtifactRef):
    """In a plan: an artifact that is not there yet, so that all that needs it waits too. Its bytes are not known;
    what it would be made of stands in for them, so that equal questions are seen to be equal."""

    @cached_property
    def digest(self) -> str:
        return f"of {self.key}"

    def select(self, *patterns: str) -> "Pending":
        return self

    def without(self, *names: str) -> "Pending":
        return self


def artifacts_in(inputs: Mapping[str, Any]) -> dict[str, ArtifactRef]:
    """The artifacts among a stage's arguments: `{argument: artifact}`, and `{argument.name: artifact}` for those of a
    mapping.

    Raises:
        TypeError: a mapping holds other values besides artifacts, which no key would show.
    """
    found: dict[str, ArtifactRef] = {}
    for name, value in inputs.items():
        if isinstance(value, ArtifactRef):
            found[name] = value
        elif isinstance(value, Mapping) and any(isinstance(each, ArtifactRef) for each in value.values()):
            if not all(isinstance(each, ArtifactRef) for each in value.values()):
                raise TypeError(f"{name}: a mapping of artifacts holds other values too: {', '.join(map(str, value))}")
            found |= {f"{name}.{key}": each for key, each in value.items()}
    return found


def values_in(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that stand in a key by what they say: all but artifacts and `Unkeyed`."""
    by_digest = {name.partition(".")[0] for name in artifacts_in(inputs)}
    return {name: value for name, value in inputs.items() if name not in by_digest and not isinstance(value, Unkeyed)}


def described(value: Any, components: tuple[str, ...]) -> Any:
    """An argument as JSON, for a key. Of a `Component` that is what it says of `components`."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Component):
        return value.describe(components)
    return {name: described(each, components) for name, each in value.items()} if isinstance(value, Mapping) else value


def modules_of(value: Any, components: tuple[str, ...]) -> list[str]:
    """The modules whose code an argument brings."""
    if isinstance(value, Component):
        return value.modules(components)
    inner = value.values() if isinstance(value, Mapping) else ()
    return [module for each in inner for module in modules_of(each, components)]


def opened(context: RunContext, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as a stage's body gets them: artifacts readable, what is wrapped unwrapped."""
    return {name: _opened(context, value) for name, value in inputs.items()}


def _opened(context: RunContext, value: Any) -> Any:
    if isinstance(value, Unkeyed):
        return _opened(context, value.value)
    if isinstance(value, Mapping):
        return opened(context, value)
    return context.open(value) if isinstance(value, ArtifactRef) else value
