"""Stage 1: what was asked becomes training arguments.

In: the `train` section as resolved (defaults of task and preset filled in), `eval.best` and `eval.patience`.
Out: `arguments.json`, ready for `transformers.TrainingArguments`, and what this project adds to them.

A stage of its own because it is where a changed learning rate enters: everything before it in spirit, data and model,
does not read it, and is not redone.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import EvalConfig
from tasks.data.tables.arrow_file import open_table
from tasks.objectives.base import Objective
from tasks.objectives.measured import refuse_undefined, refuse_unfit
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.stage import stage

OURS = ("float32_matmul_precision", "torch_num_threads")


@stage(components=("metric_names", "greater_is_better"), run_in_plan=True)
def arguments(
    build: Build, *, objective: Objective, train: Mapping[str, Any], eval: EvalConfig, custom: Mapping[str, str]
) -> Mapping[str, Any]:
    """Write `arguments.json`.

    Args:
        custom: the versions of the code of a user's own metrics, by path.
    """
    given = {name: value for name, value in train.items() if name not in OURS}
    if best := _best(objective, eval):
        given |= {"load_best_model_at_end": True, **best}
    ours: dict[str, Any] = {name: train.get(name) for name in OURS} | {"max_samples": eval.max_samples}
    if eval.best is not None and eval.best in custom:
        ours["own_best"] = {"path": eval.best, "code": custom[eval.best]}
    json.write({"training": given, "patience": eval.patience, **ours}, build.out / "arguments.json")
    return {"learning_rate": given["learning_rate"]}


def fitting(objective: Objective, rows: ArtifactRef, section: EvalConfig) -> ArtifactRef:
    """Return the head of `rows`, once the metrics asked for are some that they have (a plan may not know them yet).

    Raises:
        ConfigError: one that the task has, but that these rows do not give.
    """
    head = rows.select("head.json")
    if not head.members:
        return head
    found = current().open(rows)
    refuse_unfit(str(found.json("head.json")["problem_type"]), section, objective)
    if section.best and "validation.arrow" in found:
        refuse_undefined(section.best, open_table(found.path("validation.arrow")))
    return head


def _best(objective: Objective, section: EvalConfig) -> dict[str, Any]:
    if section.best is None:
        return {}
    known = objective.greater_is_better.get(section.best, True)
    upward = known if section.greater_is_better is None else section.greater_is_better
    return {"metric_for_best_model": section.best.rpartition(":")[2], "greater_is_better": upward}
