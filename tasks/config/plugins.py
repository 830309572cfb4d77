"""What installed packages add to this one: the entry points of a group."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from tasks.config.errors import ConfigError

Row = TypeVar("Row")


def installed(group: str, kind: type[Row]) -> dict[str, Row]:
    """Return what the entry points of a group name, by name.

    Raises:
        ConfigError: one cannot be imported, is not a `kind`, is called otherwise, or has the name of
            another one.
    """
    found: dict[str, Row] = {}
    for entry in entry_points(group=group):
        try:
            row = entry.load()
        except Exception as error:
            raise ConfigError(f"{_named(entry)} cannot be loaded: {said(error)}") from error
        if not isinstance(row, kind):
            raise ConfigError(f"{_named(entry)} is of type {type(row).__name__}, not {kind.__name__}")
        if (name := getattr(row, "name", entry.name)) != entry.name:
            raise ConfigError(f"{_named(entry)} is called {name!r} itself; give both one name")
        if entry.name in found:
            raise ConfigError(f"{_named(entry)} has a name that another installed package uses too; uninstall one")
        found[entry.name] = row
    return found


def imported(part: str, owner: str) -> Any:
    """Import and return `module:attribute`.

    Args:
        owner: what names it, for messages.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, _, attribute = part.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise ConfigError(f"{owner}: {part} cannot be loaded: {said(error)}") from error


def said(error: Exception) -> str:
    """Return an error's type and message."""
    return f"{type(error).__name__}: {error}"


def _named(entry: EntryPoint) -> str:
    package = f" of the package {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"the entry point {entry.name} = {entry.value} in {entry.group}{package}"
