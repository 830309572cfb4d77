"""Stage 8: plan the training.

In: stage 1's arguments, the counts of stage 5 (with methods that depend on labels, its rows), this machine's device and
threads. Out: `plan.json`: every value that training will use (steps, warm-up, precision, threads, order of rows). No
live objects: stage 9 makes the Trainer from the plan.

A separate stage because a plan can be read and compared before training.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ConfigError, DataConfig
from tasks.config.json_types import JsonObject
from tasks.data.tokens.token_rows import tokens_of
from tasks.data.tokens.token_table import class_counts
from tasks.models.device import machine, placed
from tasks.objectives.base import Objective
from tasks.objectives.methods import Methods, fit_methods, fits_labels
from tasks.objectives.optimization import BITSANDBYTES, optimized_by
from tasks.runtime.build import Build
from tasks.runtime.stage import stage
from tasks.training.arithmetic import check_ranks, check_schedule, count_steps, drawn, repeated_rows

SCORING = ("scipy", "seqeval", "sacrebleu", "rouge-score")  # their scores may choose the best checkpoint


def options(objective: Objective, data: DataConfig) -> JsonObject:
    """Return the fields of `data` that affect how rows are sampled."""
    return {"mlm_probability": data.mlm_probability} if objective.view.startswith("tasks.data.tokens.masking") else {}


def labels(methods: Mapping[str, Any], rows: ArtifactRef, tokens: ArtifactRef) -> dict[str, ArtifactRef]:
    """Return the head and the training rows, if any of the methods depends on labels."""
    return {"head": rows.select("head.json"), "rows": tokens.select("train-*")} if fits_labels(methods) else {}


@stage(
    libraries=(*SCORING, BITSANDBYTES),
    components=("loss_ignores_num_items", "cross_entropy"),
    environment=lambda **_: machine(),
    run_in_plan=True,
)
def trainer(
    build: Build,
    *,
    objective: Objective,
    arguments: Artifact,
    tokens: Artifact,
    seeds: Artifact,
    options: Mapping[str, Any],
    loss_options: Mapping[str, Any],
    methods: Methods,
    labels: Mapping[str, Artifact],
    ranks: Mapping[str, int] | None,
) -> Mapping[str, object]:
    """Write `plan.json`.

    Args:
        options: fields of `data` that affect how rows are sampled. loss_options: the loss's options.
        methods: the training methods. labels: `head` and `rows`, if any of them depends on labels.
        ranks: when an adapter lowers ranks, if it does.

    Raises:
        ConfigError: a warm-up as long as the training, or a schedule that does not fit it, or no step in which to
            lower ranks; `eval.best` without validation rows; options of methods that do not fit the labels.
    """
    given, summary = arguments.json("arguments.json"), tokens.json("summary.json")
    training = (placement := placed(given))["arguments"]
    if "validation" not in summary:
        if training.get("load_best_model_at_end"):
            raise ConfigError("eval.best: there are no validation rows; set data.validation or data.split.validation")
        training["eval_strategy"] = "no"
    steps = count_steps(
        training, repeated_rows(training, summary["train"]["rows"], loss_options.get("num_iterations", 1))
    )
    check_schedule(training, steps, "validation" in summary)
    check_ranks(ranks, steps.total)
    plan = {
        "task": objective.name,
        "options": dict(options),
        "loss_options": dict(loss_options),
        "methods": _planned(methods, labels, summary["train"]["rows"], build.warn),
        "ranks": ranks,
        "patience": given["patience"],
        "max_samples": given["max_samples"],
        "own_best": given.get("own_best"),
        "scored_by": {name: version(name) for name in SCORING} if training.get("load_best_model_at_end") else {},
        "optimized_by": optimized_by(training.get("optim", ""), placement["device"], build.warn),
        "seed": seeds.json("seeds.json")["train"],
        "steps": asdict(steps),
        "rows": {name: summary[name]["rows"] for name in ("train", "validation") if name in summary},
        "tokens_per_epoch": summary["train"]["tokens"],
        "longest": summary["train"]["longest"],
        "max_length": summary["max_length"],
        **placement,
        "loss_ignores_num_items": objective.loss_ignores_num_items or methods.average,
        "cross_entropy": objective.trained_classes,
    }
    json.write(plan, build.out / "plan.json")
    if options:  # of views that draw anew in each epoch
        json.write(drawn(plan), build.out / "draws.json")
    return {"steps": steps.total, "effective_batch_size": steps.effective_batch_size}


def _planned(
    methods: Methods, labels: Mapping[str, Artifact], rows: int, warn: Callable[[str], None]
) -> Mapping[str, object]:
    if not labels:
        return dict(methods.options)
    head, tokens = labels["head"].json("head.json"), tokens_of(labels["rows"].paths("train-"))
    counts = class_counts(tokens, len(head["labels"] or ())) if tokens is not None else None
    return fit_methods(methods.options, head, counts, rows, warn)
