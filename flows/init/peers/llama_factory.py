"""LLaMA-Factory's keys, as of version 0.9.5 (llamafactory.hparams). Others are transformers' training arguments."""

from collections.abc import Mapping
from typing import Any

from flows.init.peers import llama_factory_rl as rl
from flows.init.peers.llama_factory_data import put_datasets
from flows.init.peers.shared import (
    CACHED,
    PATTERNS,
    SHARED,
    SPEED,
    generates,
    handled,
    has_validation,
    held_out,
    if_evaluated,
    lora_only,
    patience,
)
from flows.init.peers.stages import LLAMA_FACTORY, PPO, SFT, TEXTS, preference, set_stage
from flows.init.peers.table import Import, Rule, Table, listed, lost, names, needless, one_of, to

TOKENS = "the tokenizer's own tokens are used"
OPTIMIZER = "set train.optim, with train.optim_args, to an optimizer of transformers"
FREEZE = (
    "layers to freeze are counted from the embeddings here; add methods.freeze.layers=N to this command, N the number "
    "of layers of the model less those to train, and methods.freeze.embeddings=true"
)


def prepare(found: Import) -> None:
    """Set the task and the method, which other rules depend on.

    Raises:
        ConfigError: a stage or method that is not supported.
    """
    if not found.task:
        set_stage(found, "stage", found.given.get("stage") or "sft", LLAMA_FACTORY)
    rl.check_rewards(found)
    method = found.given.get("finetuning_type") or "lora"
    if method == "freeze":
        if not any(each.startswith("methods") for each in found.fixed):
            layers = found.given.get("freeze_trainable_layers", 2)
            raise found.refusal("finetuning_type", f"freeze trains {layers} layers; {FREEZE}")
        found.needless["finetuning_type"] = "methods.freeze says it"
    elif method not in ("lora", "oft", "full"):
        raise found.refusal("finetuning_type", f"{method!r} given; valid: lora, oft, freeze, full")
    else:
        found.put("finetuning_type", "peft.method", "none" if method == "full" else method)
    if found.given.get("adapter_name_or_path"):
        _continue(found, method)
    weights = "bf16" if found.given.get("bf16") is True else "pure_bf16" if found.given.get("pure_bf16") else None
    if weights and (weights == "pure_bf16" or method != "full") and not found.given.get("quantization_bit"):
        found.put(weights, "model.dtype", "bfloat16", "also the type of the frozen weights")


def _continue(found: Import, method: str) -> None:
    adapters = names(found.given["adapter_name_or_path"])
    if method != "lora" or len(adapters) > 1 or found.given.get("create_new_adapter"):
        raise found.refusal("adapter_name_or_path", "one adapter can be trained on (finetuning_type: lora); merge "
                            "others into the base before: finetune export ADAPTER -o FOLDER --merge")  # fmt: skip
    found.put("adapter_name_or_path", "model.name", adapters[0])
    found.put("adapter_name_or_path", "peft.method", "continue", "the adapter is trained on")
    found.needless["model_name_or_path"] = "the adapter names its base"
    found.needless["finetuning_type"] = "the adapter is trained on"


def _base(found: Import, key: str, value: Any) -> None:
    if key not in found.needless:
        found.put(key, "model.name", value)


def _targets(found: Import, key: str, value: Any) -> None:
    found.put(key, "peft.target_modules", "all-linear" if names(value) == ["all"] else names(value))


def _pissa(found: Import, key: str, value: Any) -> None:
    if value is False:
        found.empty.append(key)
    else:
        found.put(key, "peft.init_lora_weights", "pissa", "computed exactly, not in pissa_iter steps")


def _template(found: Import, key: str, value: Any) -> None:
    if found.task == TEXTS:
        found.needless[key] = "texts are not rendered"
    elif value == "chatml":
        found.put(key, "model.chat_template", "chatml")
    else:
        found.lost[key] = "the model's own chat template is used; for another, set model.chat_template to a file of it"


def _max_samples(found: Import, key: str, value: Any) -> None:
    sets = len(names(found.given.get("dataset") or ""))
    more = f"of each of {sets} data sets there, of all rows here" if sets > 1 else ""
    found.put(key, "data.max_train_samples", value * sets if isinstance(value, int) and sets else value, more)
    if has_validation(found):
        found.put(key, "eval.max_samples", value)


def _train_on(name: str) -> Rule:
    def rule(found: Import, key: str, value: Any) -> None:
        if value is False:
            found.empty.append(key)
        elif found.task != SFT:
            found.needless[key] = f"it has no effect for {found.task}"
        else:
            found.put(key, "data.train_on", name)

    return rule


def _packing(found: Import, key: str, value: Any) -> None:
    if key == "packing" and found.given.get("neat_packing"):
        found.needless[key] = "data.packing says it"
    elif found.task == TEXTS and key == "packing":
        found.put(key, "data.merge", "concat" if value else "none")
    elif value is False and key == "neat_packing":
        found.empty.append(key)
    else:
        why = "" if key == "neat_packing" or not value else "conversations do not see each other here"
        found.put(key, "data.packing", value, why)


def _bits(found: Import, key: str, value: Any) -> None:
    one_of("quant.load_in_4bit" if value == 4 else "quant.load_in_8bit", {4: True, 8: True})(found, key, value)


def _with_bits(path: str) -> Rule:
    def rule(found: Import, key: str, value: Any) -> None:
        if found.given.get("quantization_bit") == 4:
            found.put(key, path, value)
        else:
            found.needless[key] = "it is for quantization_bit: 4"

    return rule


def _checkpointing(found: Import, key: str, value: Any) -> None:
    found.put(key, "train.gradient_checkpointing", not value)


def _eval_steps(found: Import, key: str, value: Any) -> None:
    if found.given.get("eval_strategy", found.given.get("evaluation_strategy")) == "steps":
        found.put(key, "train.eval_steps", value)
    else:
        found.needless[key] = "it is for eval_strategy: steps"


def _defaults(found: Import) -> Mapping[str, object]:
    """Return LLaMA-Factory's defaults where ours differ."""
    defaults: dict[str, object] = {
        "data.max_length": 2048,
        "train.learning_rate": 5e-5,
        "train.per_device_train_batch_size": 8,
        "train.gradient_accumulation_steps": 1,
        "train.num_train_epochs": 3.0,
        "train.lr_scheduler_type": "linear",
        "train.warmup_steps": 0.0,
        "train.weight_decay": 0.0,
        "train.gradient_checkpointing": True,
    }
    if "data.validation" not in found.values and not found.given.get("val_size"):
        defaults["data.split.validation"] = 0.0
    if "data.columns.history" in found.values and found.task == SFT:
        defaults["data.train_on"] = "assistant"
    if generates(found):
        defaults["train.generation_max_length"] = 1024
    if found.values.get("peft.method") == "oft":
        defaults["peft.target_modules"] = "all-linear"
    if found.values.get("peft.method") == "lora":
        defaults |= {"peft.r": 8, "peft.lora_dropout": 0.0}  # lora_alpha is twice lora_rank there and here
    return defaults | (rl.defaults(found) if found.task == PPO else {})


RULES: Mapping[str, Rule] = {
    **SHARED,
    **rl.RULES,
    **dict.fromkeys(("stage", "finetuning_type", "adapter_name_or_path", "create_new_adapter", "pure_bf16"), handled),
    "model_name_or_path": _base,
    "model_revision": to("model.revision"),
    "dataset": put_datasets,
    "eval_dataset": put_datasets,
    "dataset_dir": needless("it is the folder of the data sets"),
    "template": _template,
    "cutoff_len": to("data.max_length"),
    "max_samples": _max_samples,
    "val_size": held_out,
    "train_on_prompt": _train_on("all"),
    "mask_history": _train_on("last_turn"),
    "packing": _packing,
    "neat_packing": _packing,
    "mix_strategy": one_of("the rows of all data sets, in turn", {"concat": None}),
    "preprocessing_num_workers": needless("rows are prepared by all cores"),
    "preprocessing_batch_size": needless("rows are prepared in pieces"),
    "overwrite_cache": needless(CACHED),
    "tokenized_path": needless(CACHED),
    "default_system": lost("add the system message to the rows"),
    "enable_thinking": lost("the template decides"),
    "lora_rank": lora_only(to("peft.r")),
    "lora_target": lora_only(_targets),
    "additional_target": lora_only(listed("peft.modules_to_save")),
    "use_rslora": lora_only(to("peft.use_rslora")),
    "use_dora": lora_only(to("peft.use_dora")),
    "pissa_init": lora_only(_pissa),
    "pissa_iter": needless("principal components are computed exactly"),
    "pissa_convert": lost("adapters are saved as they were trained"),
    "oft_rank": lora_only(to("peft.r")),
    "oft_block_size": lora_only(to("peft.oft_block_size")),
    "oft_target": lora_only(_targets),
    "module_dropout": lora_only(to("peft.module_dropout")),
    "freeze_trainable_layers": needless("methods.freeze says it"),
    "quantization_bit": _bits,
    "quantization_type": _with_bits("quant.bnb_4bit_quant_type"),
    "double_quantization": _with_bits("quant.bnb_4bit_use_double_quant"),
    "quantization_method": one_of("quantization by bitsandbytes", {"bnb": None, "BNB": None, "bitsandbytes": None}),
    "flash_attn": one_of(
        "model.attn_implementation",
        {"auto": None, "disabled": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2"},
    ),
    "disable_gradient_checkpointing": _checkpointing,
    "eval_steps": if_evaluated(_eval_steps),
    "early_stopping_steps": if_evaluated(patience),
    "pref_beta": preference("beta"),
    "pref_loss": preference("loss_type"),
    "simpo_gamma": preference("simpo_gamma"),
    "dpo_label_smoothing": preference("label_smoothing"),
    "kto_chosen_weight": preference("desirable_weight"),
    "kto_rejected_weight": preference("undesirable_weight"),
    "compute_accuracy": needless("token_accuracy is reported"),
    "plot_loss": needless("report.html has the curves"),
    "use_reentrant_gc": lost(SPEED),
    "use_fast_tokenizer": needless("tokenizers are fast ones"),
    "cache_dir": needless("set HF_HOME in the environment for another cache of the hub"),
    "hf_hub_token": needless("HF_TOKEN in the environment is used"),
    "disable_shuffling": one_of("train.train_sampling_strategy", {True: "sequential", False: None}),
    "use_badam": lost(OPTIMIZER),
}
TABLE = Table(
    RULES,
    {
        **PATTERNS,
        r"(use_)?(galore|apollo|badam|muon|adam_mini)(_.*)?": lost(OPTIMIZER),
        r"resize_vocab|add_tokens|add_special_tokens|new_special_tokens_config|init_special_tokens|split_special_tokens":
            lost(TOKENS),
        r"(ms|om)_hub_token|export_.*": lost("it is for what is not done here"),
    },
    _defaults,
)  # fmt: skip
