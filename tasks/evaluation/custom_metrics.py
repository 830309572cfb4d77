"""The user's own metrics: functions by dotted path, or one passed by the caller."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError
from tasks.config.reading.names import nearest

if TYPE_CHECKING:
    import pyarrow as pa


def is_own(name: str) -> bool:
    """Whether a metric's name is the path of a function."""
    return ":" in name


BROUGHT = "live:"  # prefix in `eval.best` of a number returned by the caller's function


def result_name(name: str) -> str:
    """Return a metric's name in results, without prefix: for the path of a function, the function's name."""
    if name.startswith(BROUGHT):
        return name.removeprefix(BROUGHT)
    return name.rpartition(":")[2].rpartition(".")[2] if is_own(name) else name


_brought: ContextVar[Callable[[Any], Mapping[str, float]] | None] = ContextVar("finetune_metrics", default=None)


@contextmanager
def bringing(metrics: Callable[[Any], Mapping[str, float]] | None) -> Iterator[None]:
    """Make `metrics` available to the runs within: transformers' `compute_metrics`, from `EvalPrediction` to
    numbers."""
    token = _brought.set(metrics)
    try:
        yield
    finally:
        _brought.reset(token)


def find(path: str, field: str = "eval.metrics") -> Callable[..., Any]:
    """Import the function `package.module:function`, or return the caller's.

    Args:
        field: of the config, for messages.

    Raises:
        ConfigError: no such function; the message suggests the nearest name.
    """
    if path.startswith(BROUGHT):
        if (brought := _brought.get()) is None:
            raise ConfigError(f"eval.best: {path.removeprefix(BROUGHT)} comes from a function that was passed to "
                              "HFTrainer (`metrics`) and is not in this process; run that code again")  # fmt: skip
        return brought
    module, _, name = path.partition(":")
    try:
        there = import_module(module)
    except ImportError as error:
        raise ConfigError(f"{field}: {path!r}: {error}") from error
    function = there
    for part in name.split("."):
        if not hasattr(function, part):
            names = [each for each, value in vars(there).items() if callable(value) and not each.startswith("_")]
            guess = nearest(part, names)
            hint = f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(sorted(names)) or 'no functions'}"
            raise ConfigError(f"{field}: {path!r}: {module} has no {part!r}{hint}")
        function = getattr(function, part)
    if not callable(function):
        raise ConfigError(f"{field}: {path!r} is {type(function).__name__}, not a function")
    return function


def call(path: str, table: "pa.Table") -> dict[str, float]:
    """Call a user's metric with a predictions table.

    A function with a single parameter `table` gets the table; any other gets two lists, the predictions and the labels
    (for language models: nats and tokens per row, or generated answers and references). It returns a number, or
    `{name: number}`.

    Raises:
        TypeError: it returned something else. Errors of the function itself are passed on.
    """
    function = find(path)
    if list(inspect.signature(function).parameters) == ["table"]:
        found = function(table)
    else:
        columns = [next((name for name in names if name in table.column_names), None) for names in SIDES]
        found = function(*(table[column].to_pylist() if column else [] for column in columns))
    if isinstance(found, Mapping):
        return {str(key): float(value) for key, value in found.items()}
    if isinstance(found, str) or not hasattr(found, "__float__"):
        raise TypeError(f"it returned {type(found).__name__}, not a number or a mapping of numbers")
    return {result_name(path): float(found)}


SIDES = (("prediction", "answer", "nll"), ("label", "answers", "reference", "tokens"))
