"""Keys that several tools have in common, and what they mean here."""

from collections.abc import Mapping
from typing import Any

from flows.init.peers.table import Import, Rule, argument, lost, needless, to
from tasks.objectives import objective_of

ONE_DEVICE = "a run trains on one device; models are not split among several"
SPEED = "it changes speed or memory, not results"
HUB = "nothing is pushed during a run; `finetune export --push` does that afterwards"
CACHED = "results of all stages are cached in the store (store.root)"


def tracker(name: str, setting: str) -> Rule:
    """Return the rule for settings of a tracker, which it reads from the environment."""
    return lost(f"set train.report_to: {name}, and {setting} in the environment")


def handled(found: Import, key: str, value: Any) -> None:
    """A key that was read before all others, as they depend on it."""
    if value is False:
        found.empty.append(key)
    elif key not in found.keys.values():
        found.needless.setdefault(key, "given on the command line")


def metric(found: Import, key: str, value: Any) -> None:
    """The metric by which a checkpoint is kept."""
    found.put(key, "eval.best", str(value).removeprefix("eval_"))


def keep_best(found: Import, key: str, value: Any) -> None:
    """Whether the best checkpoint is kept."""
    if value is False:
        found.empty.append(key)
    elif found.given.get("metric_for_best_model"):
        found.needless[key] = "eval.best says it"
    else:
        found.put(key, "eval.best", "loss", "by the loss, the usual metric")


def patience(found: Import, key: str, value: Any) -> None:
    """Evaluations without improvement until training stops, and the metric that has to improve."""
    found.put(key, "eval.patience", value)
    if not found.given.get("metric_for_best_model"):
        found.put(key, "eval.best", "loss", "what has to improve")


def held_out(found: Import, key: str, value: Any) -> None:
    """The share of rows for validation; a number of rows has no counterpart."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1:
        found.lost[key] = ("a number of rows; here it is a share below 1, and a tenth is held out unless "
                           "data.split.validation or data.validation is set")  # fmt: skip
    else:
        found.put(key, "data.split.validation", value)


def has_validation(found: Import) -> bool:
    """Whether the peer evaluates on any rows."""
    names = ("val_set_size", "test_datasets", "val_size", "eval_dataset")
    return any(found.given.get(name) for name in names) or found.is_fixed("data.validation")


def if_evaluated(rule: Rule) -> Rule:
    """Return the rule, for a setting of evaluations, which has no effect without validation rows."""

    def checked(found: Import, key: str, value: Any) -> None:
        if has_validation(found):
            rule(found, key, value)
        else:
            found.needless[key] = "there are no validation rows"

    return checked


def lora_only(rule: Rule) -> Rule:
    """Return the rule for an option of adapters, which is not read where none is trained anew."""

    def checked(found: Import, key: str, value: Any) -> None:
        if found.values.get("peft.method") in ("lora", "oft") or found.is_fixed("peft.method"):
            rule(found, key, value)
        else:
            found.needless[key] = "no new adapter is trained"

    return checked


def generates(found: Import) -> bool:
    """Whether answers are generated after training, to be compared with those of the rows."""
    return found.given.get("predict_with_generate") is True and bool(objective_of(found.task).answers)


def if_generated(rule: Rule) -> Rule:
    """Return the rule for a setting of generated texts, which has no effect where none are generated."""

    def checked(found: Import, key: str, value: Any) -> None:
        if value is False:
            found.empty.append(key)
        elif generates(found):
            rule(found, key, value)
        else:
            found.needless[key] = "no texts are generated"

    return checked


SHARED: Mapping[str, Rule] = {
    "trust_remote_code": to("model.trust_remote_code"),
    "output_dir": to("output_dir"),
    "seed": to("seed"),
    "metric_for_best_model": metric,
    "greater_is_better": to("eval.greater_is_better"),
    "load_best_model_at_end": keep_best,
    "deepspeed": lost(ONE_DEVICE),
    "fsdp": lost(ONE_DEVICE),
    "fsdp_config": lost(ONE_DEVICE),
    "local_rank": lost(ONE_DEVICE),
    "do_train": needless("a run trains"),
    "do_eval": needless("a run evaluates on validation rows, if there are any"),
    "do_predict": lost("test rows (data.test) are scored at the end; `finetune predict` predicts"),
    "auto_find_batch_size": lost("results depend on it; `finetune plan` estimates the memory of a batch size"),
    "eval_strategy": if_evaluated(argument("eval_strategy")),
    "evaluation_strategy": if_evaluated(argument("evaluation_strategy")),
    "predict_with_generate": if_generated(argument("predict_with_generate")),
    "loraplus_lr_ratio": lora_only(to("methods.loraplus")),
    "loraplus_lr_embedding": lost("methods.loraplus has one ratio"),
    "lora_alpha": lora_only(to("peft.lora_alpha")),
    "lora_dropout": lora_only(to("peft.lora_dropout")),
    "streaming": lost("rows are read whole, from files"),
    "use_liger_kernel": lost(SPEED),
    "low_cpu_mem_usage": needless(SPEED),
}
PATTERNS: Mapping[str, Rule] = {
    r"(fsdp|dp|ddp|ray|megatron)_.*|ddp|use_ray|.*_parallel(_.*)?": lost(ONE_DEVICE),
    r"hub_.*|push_.*": lost(HUB),
    r"wandb_.*": tracker("wandb", "WANDB_PROJECT, WANDB_ENTITY, …"),
    r"use_wandb": lost("set train.report_to: wandb"),
    r"mlflow_.*|use_mlflow": tracker("mlflow", "MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME"),
    r"comet_.*|use_comet": tracker("comet_ml", "COMET_API_KEY, COMET_PROJECT_NAME"),
    r"swanlab_.*|use_swanlab": tracker("swanlab", "SWANLAB_API_KEY, SWANLAB_PROJECT"),
    r"trackio_.*|use_trackio": tracker("trackio", "TRACKIO_PROJECT"),
    r"use_tensorboard": lost("set train.report_to: tensorboard"),
    r"liger_.*|.*_kernels?|.*unsloth.*|.*cross_entropy.*|torch_compile_options": lost(SPEED),
    r"vllm.*|sglang_.*|infer_.*|use_kv_cache": needless("it is for inference"),
    r"(image|video|audio|freeze_mm|freeze_vision|freeze_multi)_.*|use_audio_in_video|.*processor.*": lost(
        "only texts are trained on"
    ),
}
