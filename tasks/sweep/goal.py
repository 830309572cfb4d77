"""The metric that ranks a sweep's cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.config import ConfigError, RunConfig, SweepConfig
from tasks.config.reading.names import nearest
from tasks.objectives import objective_of


@dataclass(frozen=True)
class Goal:
    """The metric of the validation rows that ranks, as named in results (`eval_…`), and its direction."""

    metric: str
    greater_is_better: bool


def goal_of(config: RunConfig, sweep: SweepConfig, found: Iterable[Mapping[str, float]] = ()) -> Goal:
    """The goal of a sweep; a task with several kinds of metrics decides by the first one that `found` results have.

    Raises:
        ConfigError: there is no such metric, or there are no validation rows to have it of.
    """
    if not (config.data.validation or config.data.split.validation):
        raise ConfigError("sweep: cells are ranked on validation rows, and there are none; give data.validation, or a "
                          "share of data.train in data.split.validation")  # fmt: skip
    objective, asked = objective_of(config.task), _asked(config, sweep)
    names = [asked] if asked else _reported(config, objective.metric_names)
    results = list(found)
    name = next((name for name in names if any(f"eval_{name}" in each for each in results)), names[0])
    nature = objective.greater_is_better.get(name, True)
    if sweep.greater_is_better is not None:
        nature = sweep.greater_is_better
    elif config.eval.greater_is_better is not None and asked == _called(config.eval.best or ""):
        nature = config.eval.greater_is_better
    return Goal(f"eval_{name}", nature)


def _asked(config: RunConfig, sweep: SweepConfig) -> str:
    """The metric that was asked for, as results call it; empty if none was."""
    objective, wanted = objective_of(config.task), sweep.metric or config.eval.best or ""
    asked = _called(wanted)
    if asked.startswith("test_"):
        raise ConfigError(f"sweep.metric: {asked!r} is of the test rows, which must not choose; name one of the "
                          "validation rows, such as " + objective.metric_names[0])  # fmt: skip
    own = [name for name in config.eval.metrics or [] if ":" in name]
    varies = any(name in ("eval", "eval.metrics") for name in (*sweep.grid, *sweep.paired, *sweep.random))
    if ":" in wanted and wanted not in own and not varies:
        raise ConfigError(f"sweep.metric: {wanted!r} is not reported, so cells cannot be ranked by it; name it in "
                          "eval.metrics too")  # fmt: skip
    if not asked or own or varies:  # a function of a user's own may report under any name
        return asked
    if asked not in objective.metric_names:
        guess = nearest(asked, objective.metric_names)
        hint = f"; did you mean {guess!r}?" if guess else ""
        valid = ", ".join(objective.metric_names)
        raise ConfigError(f"sweep.metric: {objective.name} has no metric {asked!r}; valid are {valid}{hint}")
    if asked not in _reported(config, objective.metric_names):
        raise ConfigError(f"sweep.metric: {asked!r} is not among eval.metrics, so it is not reported; name it there")
    return asked


def _called(metric: str) -> str:
    """A metric as results call it, without its prefix: a function goes by its own name."""
    return metric.removeprefix("eval_").rpartition(":")[2].rpartition(".")[2]


def _reported(config: RunConfig, names: Sequence[str]) -> list[str]:
    """Those of a task's metrics that are reported."""
    kept = [name for name in config.eval.metrics or [] if ":" not in name]
    return [name for name in names if name in kept] or list(names)
