"""The main metric of a run: `eval.best`, or its task's best-known metric; on test rows if there are any."""

from collections.abc import Mapping
from typing import Any

from tasks.config.json_types import JsonObject
from tasks.evaluation.custom_metrics import result_name
from tasks.objectives import objective_of
from tasks.objectives.headline import PREFIXES, known_metrics


def _number(metrics: Mapping[str, float | None], name: str) -> bool:
    return metrics.get(name) is not None


def main_metric(task: str, best: str | None, *each: Mapping[str, float | None]) -> str | None:
    """Return the name (`test_accuracy`) of the metric by which `each` are compared: `best`, or else the task's first
    metric that the first of `each` has, with a prefix for which all have a value. None: they cannot be compared."""
    for name in [best] if best else known_metrics(task):
        if any(_number(each[0], prefix + name) for prefix in PREFIXES):
            return next((p + name for p in PREFIXES if all(_number(metrics, p + name) for metrics in each)), None)
    return None


def is_upward(task: str, name: str, given: bool | None = None) -> bool:
    """Whether a greater value of a metric is better, if the config does not say (`given`); `name` may have a prefix."""
    return objective_of(task).is_upward(name.removeprefix("test_").removeprefix("eval_"), given)


def better(task: str, name: str, one: float, other: float, given: bool | None = None) -> bool:
    """Whether `one` is a better value of `name` than `other`; see `is_upward`."""
    return one > other if is_upward(task, name, given) else one < other


def best_of(config: Mapping[str, Any]) -> str | None:
    """Return the name in results of `eval.best`, from a config given as plain data."""
    section: JsonObject = config.get("eval") or {}
    return result_name(best) if (best := section.get("best")) else None
