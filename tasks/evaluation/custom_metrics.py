"""A user's own metrics: by dotted path, or a function the caller of this very run brought."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import pyarrow as pa

from tasks.config.errors import ConfigError
from tasks.config.reading.names import nearest


def is_own(name: str) -> bool:
    """Whether a metric's name is the path of a function."""
    return ":" in name


BROUGHT = "live:"  # what `eval.best` says of a number that a brought function returns
_brought: ContextVar[Callable[[Any], Mapping[str, float]] | None] = ContextVar("finetune_metrics", default=None)


@contextmanager
def bringing(metrics: Callable[[Any], Mapping[str, float]] | None) -> Iterator[None]:
    """Let the runs within know `metrics`, transformers' `compute_metrics`: from an `EvalPrediction` to numbers."""
    token = _brought.set(metrics)
    try:
        yield
    finally:
        _brought.reset(token)


def find(path: str) -> Callable[..., Any]:
    """Import the function `package.module:function` names, or return the one that was brought.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if path.startswith(BROUGHT):
        if (brought := _brought.get()) is None:
            raise ConfigError(f"eval.best: {path.removeprefix(BROUGHT)} is a number of a function that only the code "
                              "has that called HFTrainer with it (`metrics`); run that again")  # fmt: skip
        return brought
    module, _, name = path.partition(":")
    try:
        there = import_module(module)
    except ImportError as error:
        raise ConfigError(f"eval.metrics: {path!r}: {error}") from error
    function = there
    for part in name.split("."):
        if not hasattr(function, part):
            names = [each for each, value in vars(there).items() if callable(value) and not each.startswith("_")]
            guess = nearest(part, names)
            hint = f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(sorted(names)) or 'no functions'}"
            raise ConfigError(f"eval.metrics: {path!r}: {module} has no {part!r}{hint}")
        function = getattr(function, part)
    if not callable(function):
        raise ConfigError(f"eval.metrics: {path!r} is {type(function).__name__}, not a function")
    return function


def call(path: str, table: pa.Table) -> dict[str, float]:
    """Ask a user's metric about a predictions table.

    A function whose one parameter is called `table` gets the table; any other gets two lists, the predictions and the
    right answers (of language models: nats and tokens a row). It returns a number, or `{name: number}`.

    Raises:
        TypeError: it returned something else; and whatever the function itself raises.
    """
    function = find(path)
    name = path.rpartition(":")[2].rpartition(".")[2]
    if list(inspect.signature(function).parameters) == ["table"]:
        found = function(table)
    else:
        columns = [next((name for name in names if name in table.column_names), None) for names in SIDES]
        found = function(*(table[column].to_pylist() if column else [] for column in columns))
    if isinstance(found, Mapping):
        return {str(key): float(value) for key, value in found.items()}
    if isinstance(found, str) or not hasattr(found, "__float__"):
        raise TypeError(f"it returned {type(found).__name__}, not a number or a mapping of numbers")
    return {name: float(found)}


SIDES = (("prediction", "nll"), ("label", "answers", "tokens"))
