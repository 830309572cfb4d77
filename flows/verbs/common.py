"""What subcommands share: loading a config with its overrides, opening a store, printing stages as they end."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.runtime.context import StageEntry
    from tasks.runtime.prefect_api.server import Server


def load_config(options: argparse.Namespace, reader: Callable[..., Any] | None = None) -> Any:
    """The config an invocation names, read by `load`, or another `reader`; what a user should know goes to stderr."""
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


def existing_store(options: argparse.Namespace) -> Any:
    """The store an invocation names.

    Raises:
        ConfigError: there is none, or its name cannot be one.
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
def hearing_warnings() -> Iterator[list[str]]:
    """The warnings that are logged within, without repeats, for the JSON at the end."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (line := record.getMessage()) not in heard:
                heard.append(line)

    listener, logger = Listener(logging.WARNING), logging.getLogger("finetune")
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)


def tell(entry: "StageEntry") -> None:
    """Print a stage's outcome."""
    print(f"  {entry.stage:<14} {entry.state:<7} {entry.seconds:7.1f} s  {entry.reason}", file=sys.stderr)


def greet(server: "Server") -> None:
    """Once the API answers: silence Prefect's own log lines, and print the URL of the runs' page."""
    from tasks.runtime.prefect_api.launch import silence_prefect

    silence_prefect()
    if server.visible:
        print(f"watch it at {server.url.removesuffix('/api')}/runs", file=sys.stderr)


def takes_config(sub: argparse.ArgumentParser) -> None:
    """Add the arguments of a verb that is given a config."""
    sub.add_argument("config", help="a YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="such as train.learning_rate=1e-4")
    takes_store(sub)
    sub.add_argument("--json", action="store_true", help="end stdout with one JSON object")


def takes_overwrite(sub: argparse.ArgumentParser) -> None:
    """Add the argument of a verb that writes `output_dir`, or plans to."""
    sub.add_argument("--overwrite", action="store_true",
                     help="output_dir may hold unrelated files, or another config's model")  # fmt: skip


def takes_store(sub: argparse.ArgumentParser) -> None:
    """Add the argument of a verb that looks into a store."""
    sub.add_argument("--store", help="where artifacts live: a folder, an fsspec URL, or `memory`")
