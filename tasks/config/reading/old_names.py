"""Former names of TrainingArguments, and their replacements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.config.json_types import JsonObject

RENAMED: Mapping[str, str] = {
    "evaluation_strategy": "eval_strategy",
    "warmup_ratio": "warmup_steps",
    "no_cuda": "use_cpu",
    "group_by_length": "train_sampling_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "include_tokens_per_second": "include_num_input_tokens_seen",
    "torchdynamo": "torch_compile_backend",
}

DROPPED: Mapping[str, str] = {
    "use_mps_device": "training runs on CUDA devices or the CPU; Apple GPUs are not used",
    "logging_dir": "logs are kept with the run",
    "overwrite_output_dir": "a run replaces its own model; for other models and files set export.overwrite: true",
    "save_safetensors": "weights are always saved as safetensors",
    "half_precision_backend": "there is only one backend now",
    "fp16_backend": "there is only one backend now",
    "fp16_opt_level": "it was for apex, which is no longer supported",
    "past_index": "transformers has removed it",
    "jit_mode_eval": "transformers has removed it",
    "use_ipex": "transformers has removed it",
    "tpu_num_cores": "transformers has removed it",
    "tpu_metrics_debug": "transformers has removed it",
    "mp_parameters": "transformers has removed it",
    "ray_scope": "hyperparameter search is `finetune grid`, with a `sweep` section",
    "push_to_hub_model_id": "nothing is pushed from here",
    "include_inputs_for_metrics": "metrics are computed from saved predictions",
}


@dataclass(frozen=True)
class Modernised:
    """A train section with current names; `sources` maps each new name to the one that was written."""

    values: JsonObject
    sources: dict[str, str]
    notices: tuple[str, ...]


def modernise(values: Mapping[str, Any]) -> Modernised:
    """Translate old names. An old name beside its new one is kept, so that the check of names refuses the pair."""
    modern: JsonObject = {}
    sources: dict[str, str] = {}
    changes: list[str] = []
    for name, value in values.items():
        if name in DROPPED:
            changes.append(f"{name} is ignored ({DROPPED[name]})")
            continue
        new, new_value = _translate(name, value)
        if new != name and (new in values or new in modern):
            new, new_value = name, value
        modern[new] = new_value
        sources[new] = name
        if new != name:
            changes.append(f"{name} is now {new}")
    notices = (f"old names of training arguments: {'; '.join(changes)}",) if changes else ()
    return Modernised(modern, sources, notices)


def old_name_problem(name: str) -> str | None:
    """Return why an old name could not be translated, or None if it is not an old name."""
    if name == "warmup_ratio":
        return "the old name of warmup_steps, which takes a share below 1 or a number of steps; set only warmup_steps"
    return f"the old name of {RENAMED[name]}, which is given too; keep one" if name in RENAMED else None


def _translate(name: str, value: object) -> tuple[str, object]:
    if name == "group_by_length":
        return "train_sampling_strategy", "group_by_length" if _truth(value) else "random"
    if name == "include_tokens_per_second":
        return "include_num_input_tokens_seen", _truth(value)
    if name == "warmup_ratio" and not _is_share(value):
        # As warmup_steps, 1.0 would mean one step, so it must not be translated silently.
        return name, value
    return RENAMED.get(name, name), value


def _truth(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _is_share(value: Any) -> bool:
    try:
        return 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False
