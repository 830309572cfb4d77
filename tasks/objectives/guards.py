"""Refuse guards (`eval.guard`) that cannot be measured."""

from collections.abc import Iterator

from tasks.config import ConfigError, RunConfig
from tasks.objectives import objective_of
from tasks.objectives.base import Objective
from tasks.objectives.measured import hint

ANSWERING = "give rows of answers with task: sft, or of texts with task: language-generation"


def guard_problems(config: RunConfig, objective: Objective) -> Iterator[str]:
    """Yield what is wrong with the guards, as far as the config alone says."""
    names = [guard.called(config.model.name) for guard in config.eval.guard]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        yield f"eval.guard: two guards have the name {repeated[0]!r}; give one of them another name"
    if names and ":" in objective.auto_model:
        yield f"eval.guard: {objective.name} trains two models, neither of which does another task; leave it out"
    for at, guard in enumerate(config.eval.guard):
        if guard.task is None:
            continue
        try:
            guarded = objective_of(guard.task)
        except ConfigError as error:
            yield f"eval.guard[{at}].{error}"
            continue
        yield from unmeasurable(f"eval.guard[{at}]", guarded, guard.metric)


def unmeasurable(field: str, objective: Objective, metric: str | None) -> Iterator[str]:
    """Yield why a task, or a metric of it, cannot be guarded.

    Args:
        field: of the guard, for messages. objective: of the guarded task.
    """
    name = objective.name
    if ":" in objective.auto_model:
        yield f"{field}.task: {name} trains two models at once, whose body cannot be exchanged; guard another task"
    elif objective.rl_options:
        yield (f"{field}.task: {name} has no right answers: it is measured by rewards of answers that the model "
               f"samples, and what gives them is part of that run (rl); {ANSWERING}")  # fmt: skip
    elif objective.reference:
        yield (f"{field}.task: {name} compares a model with itself before that training, which is not known here; "
               f"{ANSWERING}")  # fmt: skip
    elif metric is not None:
        valid = measured_metrics(objective)
        if metric not in objective.metric_names:
            yield (f"{field}.metric: {name} has no metric {metric!r}; valid are {', '.join(valid)}"
                   f"{hint(metric, valid)}")  # fmt: skip
        elif metric not in valid:
            yield (f"{field}.metric: {metric} needs generated texts, which guards have none of; valid are "
                   f"{', '.join(valid)}")  # fmt: skip


def measured_metrics(objective: Objective) -> list[str]:
    """Return the metrics of a task that a guard may have, best known first."""
    return [metric.name for metric in objective.metrics
            if metric.needs != "generated texts" or objective.generates_in_training]  # fmt: skip
