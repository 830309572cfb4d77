"""Fill in unset values: from the preset, then the task, then the config's own defaults."""

from collections.abc import Hashable, Mapping
from typing import Any

from tasks.config import Layer, Lora, RunConfig, fill
from tasks.objectives import objective_of, objectives
from tasks.objectives.contradictions import has_effect, refuse_contradictions
from tasks.objectives.defaults import RATE_BY_METHOD
from tasks.objectives.measured import refuse_unmeasured
from tasks.objectives.methods import resolve_methods
from tasks.objectives.metrics import with_functions
from tasks.training.methods import methods

UNLIMITED = 1_000_000  # tokens; the model's own limit decides
# Defaults of every task, which a preset may replace.
BASIC: Mapping[str, Any] = {"data.split.validation": 0.1, "train.float32_matmul_precision": "auto"}
# txtai 9.14: transformers' defaults, random order, no checkpoints; LoRA r 16 with alpha 8.
TXTAI: Mapping[str, Any] = {
    "train.learning_rate": 5e-5,
    "train.per_device_train_batch_size": 8,
    "train.per_device_eval_batch_size": 8,
    "train.num_train_epochs": 3.0,
    "train.weight_decay": 0.0,
    "train.warmup_steps": 0.0,
    "train.lr_scheduler_type": "linear",
    "train.train_sampling_strategy": "random",
    "train.eval_strategy": "no",
    "train.save_strategy": "no",
    "train.float32_matmul_precision": "highest",
    "data.max_length": UNLIMITED,
    "data.merge": "concat",
    "data.append_eos": False,
    "data.stride": 128,
    "data.split.validation": 0.0,
    "peft.r": 16,
    "peft.lora_alpha": 8,
    "peft.lora_dropout": 0.05,
}


def resolve(config: RunConfig, origin: Mapping[str, str]) -> tuple[RunConfig, dict[str, str]]:
    """Return `config` with all defaults filled in, and for each leaf the origin of its value.

    Raises:
        ConfigError: unknown task; settings that contradict each other.
    """
    objective = objective_of(config.task)
    task = f"the default of {objective.name}"
    applied = {field: value for field, value in TXTAI.items() if has_effect(field, objective)}
    layers = [Layer("preset txtai", applied)] if config.preset == "txtai" else []
    if config.peft.method != "none":
        given = config.peft if isinstance(config.peft, Lora) and config.preset == "recommended" else Lora()
        if given.r is not None and given.lora_alpha is None:
            layers.append(Layer("twice peft.r", {"peft.lora_alpha": 2 * given.r}))
        if (rate := RATE_BY_METHOD.get(config.peft.method)) is not None:
            layers.append(Layer(f"usual for {config.peft.method}", {"train.learning_rate": rate}))
        layers.append(Layer(f"{task} with LoRA", objective.lora_defaults))
    layers += [Layer(task, objective.defaults), Layer("default", BASIC)]
    if config.eval.best and config.train.eval_strategy is None:
        layers.insert(0, Layer("needed by eval.best", {"train.eval_strategy": "epoch"}))
    for name in config.methods.keys() & methods().keys():
        layers.insert(0, Layer(f"needed by methods.{name}", methods()[name].defaults))
    if (best := objective.metric(config.eval.best)) and best.function:
        layers.insert(0, Layer(f"the metric {best.name}", {"eval.greater_is_better": best.greater_is_better}))
    filled, origins = fill(config, origin, layers)
    filled = filled.model_copy(update={
        "methods": resolve_methods(filled.methods), "eval": with_functions(filled.eval, objective.metric_names),
    })  # fmt: skip
    refuse_contradictions(filled, objective, objectives())
    refuse_unmeasured(filled, objective)
    return filled.model_copy(update={"task": objective.name}), origins


def default_of(field: str) -> str:
    """The default of a field in words: of each task, with LoRA, of the preset txtai; empty if none of them has one."""
    tasks = {name: objective for name, objective in objectives().items() if has_effect(field, objective)}
    usual = {name: objective.defaults.get(field, BASIC.get(field)) for name, objective in tasks.items()}
    lora = {name: objective.lora_defaults.get(field) for name, objective in tasks.items()}
    txtai = {name: TXTAI.get(field) for name in tasks}
    parts = [_in_words(usual)] if any(value is not None for value in usual.values()) else []
    parts += [f"with LoRA {_in_words(lora)}"] if any(lora.values()) else []
    parts += [f"preset txtai: {_shown(TXTAI[field])}"] if field in TXTAI and txtai != usual else []
    return "; ".join(parts)


def _in_words(values: Mapping[str, Hashable]) -> str:
    """The commonest value, and in brackets the tasks that have another."""
    tasks: dict[Hashable, list[str]] = {}
    for name, value in values.items():
        if value is not None:
            tasks.setdefault(value, []).append(name)
    first, *others = sorted(tasks, key=lambda value: -len(tasks[value]))
    named = "; ".join(f"{', '.join(tasks[value])}: {_shown(value)}" for value in others)
    return _shown(first) + (f" ({named})" if named else "")


def _shown(value: Any) -> str:
    if value == UNLIMITED:
        return "what the model takes"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
