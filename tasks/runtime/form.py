"""The run form of Prefect's UI is made from a flow's signature and docstring; the config knows what to say there."""

from collections.abc import Callable
from inspect import getdoc, signature
from typing import Any, TypeVar

from tasks.config import RunConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def described(function: Function) -> Function:
    """Add to the docstring of a flow's function what the config says of each of its parameters."""
    known = {name: field.description for name, field in RunConfig.model_fields.items()}
    known["sweep"] = "What varies, how it is searched, and where its runs go."
    lines = [f"    {name}: {known[name]}" for name in signature(function).parameters if known.get(name)]
    function.__doc__ = "\n".join([getdoc(function) or "", "", "Args:", *lines])
    return function
