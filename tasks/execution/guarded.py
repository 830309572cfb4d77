"""What a guard (`eval.guard`) measures: the config of its task, and how."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config import ConfigError, GuardConfig, ModelConfig, RunConfig
from tasks.config.arguments import GENERATION
from tasks.config.json_types import JsonObject, is_mapping
from tasks.config.reading.draft import make_draft
from tasks.execution.other_config import other_config
from tasks.models.bases.base import live_class
from tasks.objectives import objective_of
from tasks.objectives.guards import unmeasurable
from tasks.results.output_dir import RESOLVED

BATCH = "per_device_eval_batch_size"
ANEW = {"train", "validation", "test", "split", "leakage", "near_duplicates"}


def guarded_config(run: RunConfig, guard: GuardConfig, field: str) -> RunConfig:
    """Return the config, as resolved, with which the rows of a guard are prepared, generated texts included.

    Args:
        field: of the guard, for messages.

    Raises:
        ConfigError: task or rows are not known, something is not valid, or the task cannot be guarded.
    """
    model = guard.model or run.model.name
    if live_class(ModelConfig(name=model)) or live_class(run.model):
        raise ConfigError(f"{field}: a live model of a custom class has no body that could be exchanged; save it as a "
                          "transformers model")  # fmt: skip
    saved = _saved(model)
    task = guard.task or (run.task if guard.data is not None and "task" not in saved else None)
    data: Any = guard.data
    if data is not None and not is_mapping(data):
        alike = "task" in saved and (task is None or objective_of(task) is objective_of(saved["task"]))
        data = _exactly(data, saved.get("data", {}) if alike else {})
    found = other_config(
        model, f"{field}.{'model' if guard.model else 'data'}", task, data, run.model.trust_remote_code
    )
    objective = objective_of(found.task)
    for problem in unmeasurable(field, objective, guard.metric):
        raise ConfigError(problem)
    if guard.model is None:
        found = found.model_copy(update={"model": run.model})
    generation = {name: saved["train"][name] for name in GENERATION if name in saved.get("train", {})}
    return found.model_copy(update={"train": found.train.model_copy(update=generation)})


def measuring(run: RunConfig, guarded: RunConfig, options: Mapping[str, Any]) -> JsonObject:
    """Return what the figures of a guard depend on besides models and rows.

    Args:
        guarded: of `guarded_config`. options: fields of `data` that affect how its rows are sampled.
    """
    objective = objective_of(guarded.task)
    generating = GENERATION if objective.generates_in_training else ()
    return {
        "max_samples": run.eval.max_samples,
        "batch_size": getattr(run.train, BATCH, None),
        "seed": guarded.seed if options else 0,
        "options": dict(options),
        "loss_options": objective.loss_options(guarded),
        "generation": {name: getattr(guarded.train, name, None) for name in generating},
        "threshold": _threshold(guarded.model.name),
    }


def _exactly(rows: str | list[str], saved: Mapping[str, Any]) -> JsonObject:
    """Return the section `data` in which `rows` are measured, all of them, and read as those of the saved one."""
    kept = {name: value for name, value in saved.items() if name not in ANEW}
    whole = {"train": rows, "test": rows, "split": {"validation": 0.0}}
    return {**kept, **whole, "labels": None, "leakage": "off", "near_duplicates": "off"}


def _saved(model: str) -> JsonObject:
    """Return the config in a model's folder; empty without one."""
    path = Path(model).expanduser() / RESOLVED
    return make_draft(path, ()).values if path.is_file() else {}


def _threshold(model: str) -> Any:
    """Return the thresholds with which `finetune run` scored a multi-label model, by label if each has its own; None
    for other models."""
    path = Path(model).expanduser() / "inference.json"
    if not path.is_file():
        return None
    head = json.loads(path.read_text()).get("head") or {}
    found = head.get("threshold")
    return dict(zip(head["labels"], found, strict=True)) if isinstance(found, list) else found
