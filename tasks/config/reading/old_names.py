"""Names that TrainingArguments used to have, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    "overwrite_output_dir": "a run replaces its own model; another's, or other files: export.overwrite: true",
    "save_safetensors": "weights are always saved as safetensors",
    "half_precision_backend": "there is only one left",
    "fp16_backend": "there is only one left",
    "fp16_opt_level": "it belonged to apex, which is gone",
    "past_index": "it is gone from transformers",
    "jit_mode_eval": "it is gone from transformers",
    "use_ipex": "it is gone from transformers",
    "tpu_num_cores": "it is gone from transformers",
    "tpu_metrics_debug": "it is gone from transformers",
    "mp_parameters": "it is gone from transformers",
    "ray_scope": "hyperparameter search is `finetune grid`, with a `sweep` section",
    "push_to_hub_model_id": "nothing is pushed from here",
    "include_inputs_for_metrics": "metrics are computed from saved predictions",
}


@dataclass(frozen=True)
class Modernised:
    """A train section in today's names; `sources` leads from each new name to the one that was written."""

    values: dict[str, Any]
    sources: dict[str, str]
    notices: tuple[str, ...]


def modernise(values: Mapping[str, Any]) -> Modernised:
    """Translate old names. An old name beside its new one stays as it is: the check of names refuses the pair."""
    modern: dict[str, Any] = {}
    sources: dict[str, str] = {}
    said: list[str] = []
    for name, value in values.items():
        if name in DROPPED:
            said.append(f"{name} is left out ({DROPPED[name]})")
            continue
        new, new_value = _translate(name, value)
        if new != name and (new in values or new in modern):
            new, new_value = name, value
        modern[new] = new_value
        sources[new] = name
        if new != name:
            said.append(f"{name} is now {new}")
    notices = (f"old names of training arguments: {'; '.join(said)}",) if said else ()
    return Modernised(modern, sources, notices)


def old_name_problem(name: str) -> str | None:
    """Why an old name could not be translated, or None if it is not one."""
    if name == "warmup_ratio":
        return "the old name of warmup_steps, where a share is below 1; write warmup_steps, and only that"
    return f"the old name of {RENAMED[name]}, which is given too; keep one" if name in RENAMED else None


def _translate(name: str, value: Any) -> tuple[str, Any]:
    if name == "group_by_length":
        return "train_sampling_strategy", "group_by_length" if _truth(value) else "random"
    if name == "include_tokens_per_second":
        return "include_num_input_tokens_seen", _truth(value)
    if name == "warmup_ratio" and not _is_share(value):
        # As warmup_steps, 1.0 would be one step: it must not be carried over in silence.
        return name, value
    return RENAMED.get(name, name), value


def _truth(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _is_share(value: Any) -> bool:
    try:
        return 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False
