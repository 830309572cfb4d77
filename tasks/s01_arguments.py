"""Stage 1: resolve the training arguments.

In: the `train` section as resolved (defaults of task and preset filled in), `eval.best` and `eval.patience`.
Out: `arguments.json`: values for `transformers.TrainingArguments`, and this project's additions.

A separate stage because a changed learning rate enters here: the stages of data and model do not depend on it and are
not rebuilt.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import EvalConfig, ForgettingConfig, RunConfig, computing
from tasks.config.arguments import GENERATION
from tasks.config.json_types import JsonObject
from tasks.data.tables.arrow_file import open_table
from tasks.evaluation.custom_metrics import result_name
from tasks.objectives.base import Objective
from tasks.objectives.measured import refuse_undefined, refuse_unfit_for_labels
from tasks.runtime.build import Build
from tasks.runtime.context import current
from tasks.runtime.stage import stage

OURS = ("float32_matmul_precision", "torch_num_threads")


@stage(components=("metric_names", "greater_is_better"), run_in_plan=True)
def arguments(
    build: Build, *, objective: Objective, train: Mapping[str, Any], eval: EvalConfig, custom: Mapping[str, str]
) -> Mapping[str, object]:
    """Write `arguments.json`.

    Args:
        custom: code versions of the user's own metrics, by path.
    """
    given = {name: value for name, value in train.items() if name not in OURS}
    if best := _best(objective, eval):
        given |= {"load_best_model_at_end": True, **best}
    ours: dict[str, Any] = {name: train.get(name) for name in OURS} | {"max_samples": eval.max_samples}
    if eval.best is not None and eval.best in custom:
        ours["own_best"] = {"path": eval.best, "code": custom[eval.best]}
    json.write({"training": given, "patience": eval.patience, **ours}, build.out / "arguments.json")
    return {"learning_rate": given["learning_rate"]}


def settings(objective: Objective, run: RunConfig) -> JsonObject:
    """Return what a training depends on of `train` (how texts are generated only if its evaluations generate some) and
    `eval` (without forgetting and guards, which are measured afterwards)."""
    given = computing(run.train)
    train = {name: given[name] for name in given if objective.generates_in_training or name not in GENERATION}
    return {"train": train, "eval": run.eval.model_copy(update={"forgetting": ForgettingConfig(), "guard": []})}


def fitting(objective: Objective, rows: ArtifactRef, run: RunConfig) -> ArtifactRef:
    """Return the head of `rows` after checking the config against them (unless a plan has no rows yet).

    Raises:
        ConfigError: a metric, threshold, loss or training method that does not fit these rows.
    """
    head = rows.select("head.json")
    if not head.members:
        return head
    found = current().open(rows)
    refuse_unfit_for_labels(found.json("head.json"), run, objective)
    if run.eval.best and "validation.arrow" in found:
        refuse_undefined(objective, run.eval.best, open_table(found.path("validation.arrow")))
    return head


def _best(objective: Objective, section: EvalConfig) -> JsonObject:
    if section.best is None:
        return {}
    upward = objective.is_upward(section.best, section.greater_is_better)
    return {"metric_for_best_model": result_name(section.best), "greater_is_better": upward}
