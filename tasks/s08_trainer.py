"""Stage 8: arguments and rows become a plan of the training.

In: stage 1's arguments, the counts of stage 5, this machine's device and threads. Out: `plan.json`: every number
training will use (steps, warm-up, precision, threads, order of rows) and why the chosen ones were chosen. No live
objects: a Trainer is made from the plan where it trains.

A stage of its own because a plan can be read, compared and costed before anything is spent.
"""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.config import ConfigError, DataConfig
from tasks.models.device import device, matmul_precision, placed, threads
from tasks.objectives.base import Objective
from tasks.runtime.build import Build
from tasks.runtime.stage import stage
from tasks.training.arithmetic import count_steps

SCORING = ("scipy", "seqeval", "sacrebleu", "rouge-score")  # by their numbers the best checkpoint may be chosen


def options(objective: Objective, data: DataConfig) -> dict[str, Any]:
    """What of the data section a task's rows are drawn by in every epoch."""
    return {"mlm_probability": data.mlm_probability} if objective.view.startswith("tasks.data.tokens.masking") else {}


def _machine(**_: Any) -> Mapping[str, str]:
    return {"device": device(), "threads": str(threads()), "matmul": matmul_precision()}


@stage(libraries=SCORING, components=("loss_ignores_num_items",), environment=_machine, run_in_plan=True)
def trainer(
    build: Build,
    *,
    objective: Objective,
    arguments: Artifact,
    tokens: Artifact,
    seeds: Artifact,
    options: Mapping[str, Any],
    methods: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Write `plan.json`.

    Args:
        options: fields of `data` that shape what is drawn from the rows in every epoch.
        methods: the training methods and their options.

    Raises:
        ConfigError: a warm-up as long as the training; a best checkpoint without rows to judge it by.
    """
    asked, summary = arguments.json("arguments.json"), tokens.json("summary.json")
    placement = placed(asked)
    training = placement["arguments"]
    if "validation" not in summary:
        if training.get("load_best_model_at_end"):
            raise ConfigError("eval.best: there are no validation rows to judge by; give data.validation, or a share "
                              "of data.train in data.split.validation")  # fmt: skip
        training["eval_strategy"] = "no"
    steps = count_steps(training, summary["train"]["rows"])
    plan = {
        "task": objective.name,
        "options": dict(options),
        "methods": dict(methods),
        "patience": asked["patience"],
        "max_samples": asked["max_samples"],
        "own_best": asked.get("own_best"),
        "scored_by": {name: version(name) for name in SCORING} if training.get("load_best_model_at_end") else {},
        "seed": seeds.json("seeds.json")["train"],
        "steps": asdict(steps),
        "rows": {name: summary[name]["rows"] for name in ("train", "validation") if name in summary},
        "tokens_per_epoch": summary["train"]["tokens"],
        "longest": summary["train"]["longest"],
        "max_length": summary["max_length"],
        **placement,
        "loss_ignores_num_items": objective.loss_ignores_num_items,
    }
    json.write(plan, build.out / "plan.json")
    return {"steps": steps.total, "effective_batch_size": steps.effective_batch_size}
