"""Make a Prefect flow of a function: with form descriptions, no stored result, Cancelled if stopped by a signal."""

from collections.abc import Callable
from inspect import getdoc, signature
from typing import Any, TypeVar

from prefect import flow

from tasks.config import RunConfig
from tasks.runtime.prefect_api.stopping import cancellable

Function = TypeVar("Function", bound=Callable[..., Any])


def as_flow(name: str) -> Callable[[Function], Function]:
    """Return a decorator that makes a flow called `name` of a function whose parameters are a config's sections."""

    def make(function: Function) -> Function:
        return flow(name=name, persist_result=False)(cancellable(described(function)))  # type: ignore[return-value]

    return make


def described(function: Function) -> Function:
    """Add the config's description of each parameter to the docstring, which Prefect's run form shows."""
    known = {name: field.description for name, field in RunConfig.model_fields.items()}
    known["sweep"] = "What varies, how it is searched, and where its runs execute."
    known["steps"] = "The trainings, in order: the values of each step over those of the sections."
    known["continual"] = (
        "The tasks, in order: a list of data sets or of what differs, or a mapping with tasks and options."
    )
    lines = [f"    {name}: {known[name]}" for name in signature(function).parameters if known.get(name)]
    function.__doc__ = "\n".join([getdoc(function) or "", "", "Args:", *lines])
    return function
