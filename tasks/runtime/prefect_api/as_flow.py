"""What makes a Prefect flow of a function: a described form, no stored result, Cancelled where a signal stopped it."""

from collections.abc import Callable
from inspect import getdoc, signature
from typing import Any, TypeVar

from prefect import flow

from tasks.config import RunConfig
from tasks.runtime.prefect_api.stopping import cancellable

Function = TypeVar("Function", bound=Callable[..., Any])


def as_flow(name: str) -> Callable[[Function], Function]:
    """Make a flow called `name` of a function whose parameters are a config's sections."""

    def make(function: Function) -> Function:
        return flow(name=name, persist_result=False)(cancellable(described(function)))  # type: ignore[return-value]

    return make


def described(function: Function) -> Function:
    """Add to the docstring what the config says of each parameter: Prefect's run form shows it."""
    known = {name: field.description for name, field in RunConfig.model_fields.items()}
    known["sweep"] = "What varies, how it is searched, and where its runs go."
    lines = [f"    {name}: {known[name]}" for name in signature(function).parameters if known.get(name)]
    function.__doc__ = "\n".join([getdoc(function) or "", "", "Args:", *lines])
    return function
