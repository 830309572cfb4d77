"""Stage 1: what was asked becomes training arguments.

In: the `train` section as resolved (defaults of task and preset filled in), `eval.best` and `eval.patience`.
Out: `arguments.json`, ready for `transformers.TrainingArguments`, and what this project adds to them.

A stage of its own because it is where a changed learning rate enters: everything before it in spirit, data and model,
does not read it, and is not redone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, EvalConfig
from tasks.config.names import nearest
from tasks.objectives import objective_of
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.stage import stage

PROBLEMS = {
    "single_label_classification": "of rows with one label each",
    "multi_label_classification": "of rows with several labels",
    "regression": "of rows with a number",
}
OURS = ("float32_matmul_precision", "torch_num_threads")


@stage(parts=("metric_names", "greater_is_better"), light=True)
def arguments(
    build: Build, *, task: str, train: Mapping[str, Any], eval: EvalConfig, custom: Mapping[str, str]
) -> Mapping[str, Any]:
    """Write `arguments.json`.

    Args:
        custom: the versions of the code of a user's own metrics, by path.

    Raises:
        ConfigError: a metric the task does not have.
    """
    given = {name: value for name, value in train.items() if name not in OURS}
    _refuse_unknown(task, eval)
    if best := _best(task, eval):
        given |= {"load_best_model_at_end": True, **best}
    ours: dict[str, Any] = {name: train.get(name) for name in OURS}
    if eval.best is not None and eval.best in custom:
        ours["own_best"] = {"path": eval.best, "code": custom[eval.best]}
    json.write({"training": given, "patience": eval.patience, **ours}, build.out / "arguments.json")
    return {"learning_rate": given["learning_rate"]}


def _refuse_unknown(task: str, section: EvalConfig) -> None:
    objective = objective_of(task)
    valid = ", ".join(objective.metric_names)
    if kinds := objective.metrics_by_problem:
        valid = "; ".join(f"{PROBLEMS[problem]}: {', '.join(names)}" for problem, names in kinds.items())
    for field, name in _asked(section):
        if name not in objective.metric_names:
            raise ConfigError(f"{field}: {objective.name} has no metric {name!r}; valid are {valid}, and your own as "
                              f"package.module:function{_hint(name, objective.metric_names)}")  # fmt: skip


def fitting(task: str, head: ArtifactRef, section: EvalConfig) -> ArtifactRef:
    """Return `head`, once the metrics asked for are some that its rows have (a plan may not know them yet).

    Raises:
        ConfigError: one that the task has, but for rows of another kind.
    """
    kinds = objective_of(task).metrics_by_problem
    if not head.members or not kinds:
        return head
    problem = str(current().open(head).json("head.json")["problem_type"])
    valid = kinds.get(problem, ())
    for field, name in _asked(section):
        if valid and name not in valid:
            raise ConfigError(f"{field}: {name} cannot be measured {PROBLEMS[problem]}, as these are; valid are "
                              f"{', '.join(valid)}{_hint(name, valid)}")  # fmt: skip
    return head


def _asked(section: EvalConfig) -> list[tuple[str, str]]:
    """The task's own metrics a config names, each with its field."""
    named = [("eval.best", section.best)] if section.best else []
    named += [("eval.metrics", name) for name in section.metrics or []]
    return [(field, name) for field, name in named if ":" not in name]


def _hint(name: str, valid: Sequence[str]) -> str:
    guess = nearest(name, valid)
    return f"; did you mean {guess!r}?" if guess else ""


def _best(task: str, section: EvalConfig) -> dict[str, Any]:
    if section.best is None:
        return {}
    known = objective_of(task).greater_is_better.get(section.best, True)
    upward = known if section.greater_is_better is None else section.greater_is_better
    return {"metric_for_best_model": section.best.rpartition(":")[2], "greater_is_better": upward}
