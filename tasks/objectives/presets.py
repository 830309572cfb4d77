"""Where a value comes from when the user says none: the preset, then the task, then the config's own default."""

from collections.abc import Mapping
from typing import Any

from tasks.config import Layer, RunConfig, fill
from tasks.objectives import objective_of, objectives
from tasks.objectives.contradictions import has_effect, refuse_contradictions
from tasks.objectives.measured import refuse_unmeasured
from tasks.objectives.methods import resolve_methods

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
    "data.max_length": 1_000_000,  # the model's own limit decides
    "data.merge": "concat",
    "data.append_eos": False,
    "data.stride": 128,
    "data.split.validation": 0.0,
    "peft.r": 16,
    "peft.lora_alpha": 8,
    "peft.lora_dropout": 0.05,
}


def resolve(config: RunConfig, origin: Mapping[str, str]) -> tuple[RunConfig, dict[str, str]]:
    """Return `config` with every default filled in, and for each leaf where its value comes from.

    Raises:
        ConfigError: no such task; settings that contradict each other.
    """
    objective = objective_of(config.task)
    task = f"the default of {objective.name}"
    heard = {field: value for field, value in TXTAI.items() if has_effect(field, objective)}
    layers = [Layer("preset txtai", heard)] if config.preset == "txtai" else []
    if config.peft.method != "none":
        if config.peft.r is not None and config.peft.lora_alpha is None and config.preset == "recommended":
            layers.append(Layer("twice peft.r", {"peft.lora_alpha": 2 * config.peft.r}))
        layers.append(Layer(f"{task} with LoRA", objective.lora_defaults))
    layers.append(Layer(task, objective.defaults))
    if config.eval.best and config.train.eval_strategy is None:
        layers.insert(0, Layer("needed by eval.best", {"train.eval_strategy": "epoch"}))
    filled, origins = fill(config, origin, layers)
    filled = filled.model_copy(update={"methods": resolve_methods(filled.methods)})
    refuse_contradictions(filled, objective, objectives())
    refuse_unmeasured(filled, objective)
    return filled.model_copy(update={"task": objective.name}), origins
