"""Runs without Prefect, and stages that judge as a test needs it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.chain import execute as chains
from flows.pipeline import pipeline
from tasks.artifacts.formats import json
from tasks.config import Loaded, load
from tasks.execution.execute import CallerOptions, execute, with_caller
from tasks.results.finetuned import FineTuned

Stages = Mapping[str, Callable[..., Mapping[str, Any]]]


def executed(config: Mapping[str, Any], *overrides: str, stages: Stages | None = None) -> FineTuned:
    """Carry out `config` in this process, outside any flow."""
    loaded = load(config, overrides)
    with with_caller(CallerOptions(loaded.origin, stages or {})):
        return execute(loaded.config, pipeline)


@contextmanager
def without_prefect() -> Iterator[None]:
    """Within, the steps of a chain are carried out in this process, outside any flow."""

    def run(loaded: Loaded, listener: Any = None, flow_run_name: str | None = None) -> Any:
        with with_caller(CallerOptions(loaded.origin, file=loaded.file, listener=listener)):
            return execute(loaded.config, pipeline)

    before, chains.run = chains.run, run
    try:
        yield
    finally:
        chains.run = before


def labelled(build: Any, metrics: Mapping[str, float | None], head: Any) -> Mapping[str, Any]:
    """What stage 10 writes, with these metrics."""
    json.write(head.json("head.json"), build.out / "head.json")
    for name, value in (("metrics", metrics), ("intervals", {}), ("slices", {})):
        json.write(value, build.out / f"{name}.json")
    return metrics


# Their names are part of the key, so each is a result of its own.


def good(build: Any, *, head: Any, **_: Any) -> Mapping[str, Any]:
    return labelled(build, {"test_accuracy": 0.91, "eval_accuracy": 0.5, "eval_loss": 0.4}, head)


def just_as_good(build: Any, *, head: Any, **_: Any) -> Mapping[str, Any]:
    return labelled(build, {"test_accuracy": 0.91, "eval_accuracy": 0.4, "eval_loss": 0.5}, head)


def worse(build: Any, *, head: Any, **_: Any) -> Mapping[str, Any]:
    return labelled(build, {"test_accuracy": 0.88, "eval_accuracy": 0.9, "eval_loss": 0.3}, head)


def untested(build: Any, *, head: Any, **_: Any) -> Mapping[str, Any]:
    return labelled(build, {"eval_accuracy": 0.45, "eval_loss": 0.3}, head)


def unmeasured(build: Any, *, head: Any, **_: Any) -> Mapping[str, Any]:
    return labelled(build, {"test_accuracy": None, "eval_accuracy": None, "eval_loss": 0.1}, head)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
