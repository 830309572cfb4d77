"""Stage 1: what was asked becomes training arguments.

In: the `train` section as resolved (defaults of task and preset filled in), `eval.best` and `eval.patience`.
Out: `arguments.json`, ready for `transformers.TrainingArguments`, and what this project adds to them.

A stage of its own because it is where a changed learning rate enters: everything before it in spirit, data and model,
does not read it, and is not redone.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.formats import json
from tasks.config import ConfigError, EvalConfig
from tasks.config.names import nearest
from tasks.objectives import objective_of
from tasks.runtime.build import Build
from tasks.runtime.stage import stage

OURS = ("float32_matmul_precision", "torch_num_threads")


@stage(parts=("metric_names", "greater_is_better"), light=True)
def arguments(build: Build, *, task: str, train: Mapping[str, Any], eval: EvalConfig) -> Mapping[str, Any]:
    """Write `arguments.json`.

    Raises:
        ConfigError: a metric the task does not have.
    """
    given = {name: value for name, value in train.items() if name not in OURS}
    if best := _best(task, eval):
        given |= {"load_best_model_at_end": True, **best}
    ours = {name: train.get(name) for name in OURS}
    json.write({"training": given, "patience": eval.patience, **ours}, build.out / "arguments.json")
    return {"learning_rate": given["learning_rate"]}


def _best(task: str, section: EvalConfig) -> dict[str, Any]:
    objective = objective_of(task)
    for field, names in (
        ("eval.best", [section.best] if section.best else []),
        ("eval.metrics", [name for name in section.metrics or [] if ":" not in name]),
    ):
        for name in names:
            if name not in objective.metric_names:
                guess = nearest(name, objective.metric_names)
                hint = f"; did you mean {guess!r}?" if guess else ""
                valid = ", ".join(objective.metric_names)
                raise ConfigError(f"{field}: {objective.name} has no metric {name!r}; valid are {valid}{hint}")
    if section.best is None:
        return {}
    upward = objective.greater_is_better.get(section.best, True)
    return {"metric_for_best_model": section.best, "greater_is_better": upward}
