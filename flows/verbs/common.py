"""Shared by subcommands: load a config with overrides, open a store, print stages as they end."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tasks.artifacts.store import Store
    from tasks.runtime.context import StageEntry
    from tasks.runtime.prefect_api.server import Server


Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def load_config(options: argparse.Namespace, reader: Callable[..., Any] | None = None) -> Any:
    """Return the config named on the command line, read by `load` or `reader`; print its notices to stderr."""
    from tasks.config import load

    overrides = list(options.overrides)
    if getattr(options, "overwrite", False):
        overrides.append("export.overwrite=true")
    if getattr(options, "runner", None) is not None:
        overrides.append(f"sweep.runner={json.dumps(options.runner)}")
    if options.store:
        overrides.append(f"store.root={json.dumps(options.store)}")
    loaded = (reader or load)(options.config, overrides)
    for notice in getattr(loaded, "base", loaded).notices:
        print(f"note: {notice}", file=sys.stderr)
    return loaded


def existing_store(options: argparse.Namespace) -> "Store":
    """Return the store named on the command line.

    Raises:
        ConfigError: it does not exist, or its name is invalid.
    """
    from pydantic import ValidationError

    from tasks.config import ConfigError, StoreConfig
    from tasks.config.reading.problems import problems
    from tasks.execution.execute import open_store

    try:
        store = open_store(StoreConfig(root=options.store))
    except ValidationError as error:
        raise ConfigError(f"--store: {problems(error, StoreConfig)[0].text}") from None
    if store.local is not None and not store.local.root.is_dir():
        raise ConfigError(f"--store: there is no store at {store.root}")
    return store


@contextmanager
def collecting_warnings() -> Iterator[list[str]]:
    """Collect the warnings logged within, without duplicates, for the JSON output."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (line := record.getMessage()) not in lines:
                lines.append(line)

    listener, logger = Listener(logging.WARNING), logging.getLogger("finetune")
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


def print_stage(entry: "StageEntry") -> None:
    """Print a stage's outcome."""
    print(f"  {entry.stage:<14} {entry.state:<7} {entry.seconds:7.1f} s  {entry.reason}", file=sys.stderr)


def on_server_ready(server: "Server") -> None:
    """Once the API answers, silence Prefect's own log lines and print the URL of the runs page."""
    from tasks.runtime.prefect_api.launch import silence_prefect

    silence_prefect()
    if server.visible:
        print(f"watch it at {server.url.removesuffix('/api')}/runs", file=sys.stderr)


def add_config_arguments(sub: argparse.ArgumentParser) -> None:
    """Add the arguments of a verb that takes a config."""
    sub.add_argument("config", help="a YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="override, such as train.learning_rate=1e-4")
    add_store_argument(sub)
    sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")


def add_overwrite_argument(sub: argparse.ArgumentParser) -> None:
    """Add the argument of a verb that writes `output_dir`, or plans to."""
    sub.add_argument("--overwrite", action="store_true",
                     help="allow output_dir to have unrelated files, or another config's model")  # fmt: skip


def add_store_argument(sub: argparse.ArgumentParser) -> None:
    """Add the argument of a verb that reads a store."""
    sub.add_argument("--store", help="where artifacts are stored: a folder, an fsspec URL, or `memory`")
