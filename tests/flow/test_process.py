"""What a call leaves in the caller's process: Prefect's settings, loggers and threads are as they were."""

import asyncio
import gc
import logging
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flows import finetune
from tasks.config import ConfigError
from tests.tiny import make_config


def refuse(build: Any, **_: Any) -> NoReturn:
    build.warn("a line for the API")
    raise ConfigError("refused")


def state() -> Mapping[str, Any]:
    """What a process shares with whoever is called in it."""
    from prefect.context import get_settings_context

    names = [name for name in logging.root.manager.loggerDict if name.startswith("prefect")]
    loggers = {name: logging.getLogger(name) for name in names}
    return {
        "settings": get_settings_context().settings.model_dump(),
        "root": (list(logging.root.handlers), logging.root.level),
        "loggers": {name: (list(each.handlers), each.level, each.propagate) for name, each in loggers.items()},
        "threads": {
            thread
            for thread in threading.enumerate()
            if "Loop" in thread.name or "Worker" in thread.name or "TMonitor" in repr(thread)
        },
    }


def in_a_loop(call: Callable[[], Any]) -> Any:
    async def cell() -> Any:
        return call()

    return asyncio.run(cell())


@pytest.mark.parametrize("around", [in_a_loop, pytest.param(lambda call: call(), marks=pytest.mark.slow)],
                         ids=["in a notebook", "in a script"])  # fmt: skip
def test_a_call_leaves_the_process_as_it_was(
    around: Callable[[Callable[[], Any]], Any], bert: Path, rows: Path, tmp_path: Path, capfd: Any
) -> None:
    """With an API of its own, which is gone when the call is over: nobody may still want to tell it something."""
    before = state()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(ConfigError, match="refused"):
            around(lambda: finetune(make_config(bert, rows, tmp_path), stages={"s01_arguments": refuse}))
        gc.collect()
    after = state()
    assert after["threads"] <= before["threads"]
    assert {name: after[name] for name in before if name != "threads"} == {
        name: before[name] for name in before if name != "threads"
    }
    assert not [each for each in told if "never awaited" in str(each.message)]
    assert "Error logging to API" not in capfd.readouterr().err
