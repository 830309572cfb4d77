"""The metric that ranks a sweep's cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.config import ConfigError, RunConfig, SweepConfig
from tasks.config.reading.names import nearest
from tasks.evaluation.custom_metrics import result_name
from tasks.objectives import objective_of
from tasks.objectives.measured import unproduced


@dataclass(frozen=True)
class Goal:
    """The validation metric that ranks cells, by its name in results (`eval_…`), and its direction."""

    metric: str
    greater_is_better: bool


def goal_of(config: RunConfig, sweep: SweepConfig, found: Iterable[Mapping[str, float]] = ()) -> Goal:
    """Return the goal of a sweep; for tasks whose metrics depend on the problem, the first metric in `found` results.

    Raises:
        ConfigError: no such metric, or no validation rows.
    """
    if not (config.data.validation or config.data.split.validation):
        raise ConfigError("sweep: cells are ranked on validation rows, and there are none; set data.validation, or a "
                          "share of data.train in data.split.validation")  # fmt: skip
    objective, metric = objective_of(config.task), _configured(config, sweep)
    names = [metric] if metric else _reported(config, objective.metric_names)
    results = list(found)
    name = next((name for name in names if any(f"eval_{name}" in each for each in results)), names[0])
    given = sweep.greater_is_better
    if given is None and metric == _result_name(config.eval.best or ""):
        given = config.eval.greater_is_better
    return Goal(f"eval_{name}", objective.is_upward(name, given))


def _configured(config: RunConfig, sweep: SweepConfig) -> str:
    """Return the configured metric by its name in results; empty if none is set."""
    objective, wanted = objective_of(config.task), sweep.metric or config.eval.best or ""
    metric = _result_name(wanted)
    if metric not in objective.metric_names and ":" not in wanted and (theirs := objective.metric(metric)):
        wanted = theirs.function
    if metric.startswith("test_"):
        raise ConfigError(f"sweep.metric: {metric!r} is a metric of the test rows, which must not select a model; use "
                          "one of the validation rows, such as " + objective.metric_names[0])  # fmt: skip
    own = [name for name in config.eval.metrics or [] if ":" in name]
    varies = any(name in ("eval", "eval.metrics") for name in (*sweep.grid, *sweep.paired, *sweep.random))
    if ":" in wanted and wanted not in own and not varies:
        raise ConfigError(f"sweep.metric: {wanted!r} is not computed, so cells cannot be ranked by it; add it to "
                          "eval.metrics too")  # fmt: skip
    if not metric or own or varies:  # a user's function may return any name
        return metric
    if metric not in objective.metric_names:
        guess = nearest(metric, objective.metric_names)
        hint = f"; did you mean {guess!r}?" if guess else ""
        valid = ", ".join(objective.metric_names)
        raise ConfigError(f"sweep.metric: {objective.name} has no metric {metric!r}; valid are {valid}{hint}")
    varied = {"train", "train.predict_with_generate"}.intersection((*sweep.grid, *sweep.paired, *sweep.random))
    if not varied and (why := unproduced(config, objective, metric)):
        raise ConfigError(f"sweep.metric: {why}")
    if metric not in _reported(config, objective.metric_names):
        raise ConfigError(f"sweep.metric: {metric!r} is not in eval.metrics, so it is not computed; add it there")
    return metric


def _result_name(metric: str) -> str:
    return result_name(metric.removeprefix("eval_"))


def _reported(config: RunConfig, names: Sequence[str]) -> list[str]:
    """Return the metrics of a task that are computed."""
    kept = [name for name in config.eval.metrics or [] if ":" not in name]
    return [name for name in names if name in kept] or list(names)
