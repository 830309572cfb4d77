"""Check a run's metrics and losses against its task, its arguments and its rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.config import ConfigError, EvalConfig, RunConfig
from tasks.config.reading.names import nearest
from tasks.objectives.base import Objective
from tasks.objectives.methods import fit_methods
from tasks.objectives.metrics import installed_metrics

PROBLEMS = {
    "single_label_classification": "for rows with one label each",
    "multi_label_classification": "for rows with several labels",
    "regression": "for rows with a number",
}
ANSWERS = {"an answer": "has an answer", "no answer": "lacks an answer"}


def refuse_unmeasured(config: RunConfig, objective: Objective) -> None:
    """Refuse metrics that no run of this config has, before anything is read.

    Raises:
        ConfigError: naming the field, the metric, and the valid ones.
    """
    valid = ", ".join(objective.metric_names)
    if kinds := objective.metrics_by_problem:
        valid = "; ".join(f"{PROBLEMS[problem]}: {', '.join(names)}" for problem, names in kinds.items())
    if theirs := installed_metrics():
        valid += f"; of other packages: {', '.join(theirs)}"
    for field, name in named_metrics(config.eval):
        if name not in objective.metric_names:
            raise ConfigError(f"{field}: {objective.name} has no metric {name!r}; valid are {valid}, and your own as "
                              f"package.module:function{hint(name, [*objective.metric_names, *theirs])}")  # fmt: skip
    if unproduced := next(_unproduced(config, objective), None):
        raise ConfigError(unproduced)


def unproduced(config: RunConfig, objective: Objective, name: str) -> str:
    """Return why a metric that needs generated texts has none, as the end of a message; empty if it has, or needs
    none."""
    produces = getattr(config.train, "predict_with_generate", None)
    may = objective.generates_in_training or objective.answers
    if not may or produces or _needs(objective, name) != "generated texts":
        return ""
    state = "false" if produces is False else "not set"
    return (f"{name} needs generated texts, and train.predict_with_generate is {state}; set it to true, or choose from "
            f"{_without_texts(objective)}")  # fmt: skip


def _without_texts(objective: Objective) -> str:
    return ", ".join(metric.name for metric in objective.metrics if metric.needs != "generated texts")


def _unproduced(config: RunConfig, objective: Objective) -> Iterator[str]:
    """Yield a message for each metric that needs generated texts where none are generated."""
    for field, name in named_metrics(config.eval):
        if why := unproduced(config, objective, name):
            yield f"{field}: {why}"
        late = objective.answers and not objective.generates_in_training
        if field == "eval.best" and late and _needs(objective, name) == "generated texts":
            yield (f"eval.best: {objective.name} generates texts only after training, so {name} cannot choose a "
                   f"checkpoint; choose from {_without_texts(objective)}")  # fmt: skip


def refuse_unfit_for_labels(head: Mapping[str, Any], config: RunConfig, objective: Objective) -> None:
    """Refuse settings that only other kinds of labels allow: metrics, label smoothing, training methods.

    Args:
        head: of the rows: `labels` and `problem_type`.

    Raises:
        ConfigError: naming the field, its value, and the valid ones.
    """
    problem = str(head["problem_type"])
    valid = objective.metrics_by_problem.get(problem, ())
    for field, name in named_metrics(config.eval):
        if valid and name not in valid:
            raise ConfigError(f"{field}: {name} is undefined {PROBLEMS[problem]}, as these are; valid are "
                              f"{', '.join(valid)}{hint(name, valid)}")  # fmt: skip
    if config.eval.threshold != 0.5 and problem in PROBLEMS and problem != "multi_label_classification":
        raise ConfigError(f"eval.threshold: {config.eval.threshold} given; only labels of which a row may have several "
                          f"have thresholds, and these are {PROBLEMS[problem]}; leave it out")  # fmt: skip
    smoothing = config.train.label_smoothing_factor
    if smoothing and problem in ("multi_label_classification", "regression"):
        raise ConfigError(f"train.label_smoothing_factor: {smoothing:g} given; it is for rows with one label each, and "
                          f"these are {PROBLEMS[problem]}; leave it out")  # fmt: skip
    fit_methods(config.methods, head)


def refuse_undefined(objective: Objective, best: str | None, rows: Any) -> None:
    """Refuse an `eval.best` that is undefined for the validation rows (an Arrow table with columns by role).

    Raises:
        ConfigError: the rows lack what the metric needs.
    """
    needs = _needs(objective, best)
    if needs == "different labels" and "label" in rows.column_names and _all_equal(rows["label"]):
        raise ConfigError(f"eval.best: {best} is undefined: all {rows.num_rows} validation rows have the same label; "
                          "use other rows, or choose loss")  # fmt: skip
    if needs in ANSWERS and "answers" in rows.column_names:
        answered = (bool(each["text"]) for chunk in rows["answers"].chunks for each in chunk.to_pylist())
        if (needs == "an answer") not in answered:
            raise ConfigError(f"eval.best: {best} is undefined: none of the {rows.num_rows} validation rows "
                              f"{ANSWERS[needs]}; choose f1 or exact_match")  # fmt: skip


def named_metrics(section: EvalConfig) -> Iterator[tuple[str, str]]:
    """Yield the task's metrics that a config names, each with its field."""
    named = [("eval.best", section.best)] if section.best else []
    named += [("eval.metrics", name) for name in section.metrics or []]
    return ((field, name) for field, name in named if ":" not in name)


def hint(name: str, valid: Sequence[str]) -> str:
    """Return `; did you mean 'loss'?`, or an empty string."""
    guess = nearest(name, valid)
    return f"; did you mean {guess!r}?" if guess else ""


def _needs(objective: Objective, name: str | None) -> str | None:
    metric = objective.metric(name)
    return metric.needs if metric else None


def _all_equal(column: Any) -> bool:
    values = (value for chunk in column.chunks for value in chunk.to_pylist())
    first = next(values, None)
    return all(value == first for value in values)
