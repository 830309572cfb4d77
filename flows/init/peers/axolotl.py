"""axolotl's keys, as of version 0.13 (axolotl.utils.schemas)."""

from collections.abc import Mapping

from flows.init.peers import axolotl_rl as rl
from flows.init.peers import axolotl_rules as rules
from flows.init.peers.axolotl_data import chat_template, put_datasets, roles_to_train
from flows.init.peers.shared import (
    CACHED,
    ONE_DEVICE,
    PATTERNS,
    SHARED,
    SPEED,
    handled,
    held_out,
    if_evaluated,
    lora_only,
    patience,
)
from flows.init.peers.stages import GRPO, TEXTS, preference
from flows.init.peers.table import Import, Rule, Table, argument, lost, needless, one_of, to

NO_TOKENS = "the tokenizer's own tokens are used; a model without a padding token pads with its end token"


def _defaults(found: Import) -> Mapping[str, object]:
    """Return axolotl's defaults where ours differ."""
    defaults: dict[str, object] = {
        "data.max_length": 512,
        "train.per_device_train_batch_size": 1,
        "train.gradient_accumulation_steps": 1,
        "train.num_train_epochs": 1.0,
        "train.lr_scheduler_type": "cosine",
        "train.warmup_steps": 0.03,
        "train.weight_decay": 0.0,
    }
    if "data.validation" not in found.values and not found.given.get("val_set_size"):
        defaults["data.split.validation"] = 0.0
    if found.task != TEXTS:
        defaults["data.overlong"] = "drop"
    if found.values.get("peft.method") == "lora":
        defaults["peft.lora_dropout"] = 0.0
    if found.task == GRPO:
        del defaults["data.max_length"], defaults["data.overlong"]  # prompts of any length are answered there
        defaults |= rl.defaults(found)
    return defaults


RULES: Mapping[str, Rule] = {
    **SHARED,
    **dict.fromkeys(("adapter", "rl", "reward_model", "process_reward_model", "lora_model_dir"), handled),
    "base_model": rules.base,
    "base_model_config": rules.same_as_base,
    "tokenizer_config": rules.same_as_base,
    "model_type": needless("the class follows from the task"),
    "type_of_model": needless("the class follows from the task"),
    "tokenizer_type": needless("the tokenizer is that of the model"),
    "tokenizer_use_fast": needless("tokenizers are fast ones"),
    "tokenizer_legacy": needless("the tokenizer is that of the model"),
    "revision_of_model": to("model.revision"),
    "datasets": put_datasets,
    "test_datasets": put_datasets,
    "pretraining_dataset": put_datasets,
    "dataset_prepared_path": needless(CACHED),
    "dataset_processes": needless("rows are prepared by all cores"),
    "dataset_num_proc": needless("rows are prepared by all cores"),
    "dataset_exact_deduplication": one_of("data.dedupe", {True: "exact", False: None}),
    "shuffle_merged_datasets": needless("training rows are shuffled"),
    "val_set_size": held_out,
    "sequence_len": to("data.max_length"),
    "excess_length_strategy": rules.overlong,
    "sample_packing": to("data.packing"),
    "eval_sample_packing": rules.packed_evaluation,
    "pad_to_sequence_len": needless(SPEED),
    "group_by_length": argument("group_by_length"),
    "train_on_inputs": rules.train_on_inputs,
    "roles_to_train": roles_to_train,
    "train_on_eos": one_of("the end token of each answer", {"turn": None}),
    "chat_template": chat_template,
    "chat_template_jinja": chat_template,
    "default_system_message": lost("add the system message to the rows"),
    "special_tokens": lost(NO_TOKENS),
    "tokens": lost(NO_TOKENS),
    "added_tokens_overrides": lost(NO_TOKENS),
    "load_in_4bit": to("quant.load_in_4bit"),
    "load_in_8bit": to("quant.load_in_8bit"),
    "bnb_config_kwargs": rules.bnb,
    "lora_r": lora_only(to("peft.r")),
    "lora_target_modules": lora_only(rules.targets),
    "lora_target_linear": lora_only(rules.targets),
    "lora_target_parameters": lora_only(to("peft.target_parameters")),
    "lora_modules_to_save": lora_only(to("peft.modules_to_save")),
    "lora_fan_in_fan_out": lora_only(to("peft.fan_in_fan_out")),
    "lora_rank_pattern": lora_only(to("peft.rank_pattern")),
    "lora_alpha_pattern": lora_only(to("peft.alpha_pattern")),
    "peft_layers_to_transform": lora_only(to("peft.layers_to_transform")),
    "peft_layers_pattern": lora_only(to("peft.layers_pattern")),
    "peft_use_dora": lora_only(to("peft.use_dora")),
    "peft_use_rslora": lora_only(to("peft.use_rslora")),
    "peft_init_lora_weights": lora_only(to("peft.init_lora_weights")),
    "peft_layer_replication": lora_only(to("peft.layer_replication")),
    "peft_trainable_token_indices": lora_only(to("peft.trainable_token_indices")),
    "peft_ensure_weight_tying": lora_only(to("peft.ensure_weight_tying")),
    "merge_lora": to("export.merge"),
    "micro_batch_size": rl.counting_prompts("per_device_train_batch_size"),
    "gradient_accumulation_steps": rl.counting_prompts("gradient_accumulation_steps"),
    "eval_batch_size": argument("per_device_eval_batch_size"),
    "batch_size": lost("rows of a step are micro_batch_size times gradient_accumulation_steps"),
    "num_epochs": argument("num_train_epochs"),
    "optimizer": argument("optim"),
    "lr_scheduler": rules.scheduler,
    "cosine_min_lr_ratio": rules.min_lr,
    "warmup_steps": rules.warmup,
    "warmup_ratio": rules.warmup,
    "bf16": rules.bf16,
    "bfloat16": one_of("model.dtype", {True: "bfloat16", False: None}),
    "float16": one_of("model.dtype", {True: "float16", False: None}),
    "float32": one_of("model.dtype", {True: "float32", False: None}),
    "gradient_checkpointing": rules.gradient_checkpointing,
    "evals_per_epoch": if_evaluated(rules.per_epoch("eval_strategy", "eval_steps")),
    "saves_per_epoch": rules.per_epoch("save_strategy", "save_steps"),
    "eval_steps": if_evaluated(rules.steps("eval_strategy", "eval_steps")),
    "save_steps": rules.steps("save_strategy", "save_steps"),
    "early_stopping_patience": if_evaluated(patience),
    "auto_resume_from_checkpoints": needless("a run that was stopped resumes when it is run again"),
    "flash_attention": rules.attention("flash_attention_2"),
    "sdp_attention": rules.attention("sdpa"),
    "eager_attention": rules.attention("eager"),
    "attn_implementation": to("model.attn_implementation"),
    "rl_beta": rl.beta,
    "orpo_alpha": preference("beta"),
    "simpo_gamma": preference("simpo_gamma"),
    "dpo_label_smoothing": preference("label_smoothing"),
    "kto_desirable_weight": preference("desirable_weight"),
    "kto_undesirable_weight": preference("undesirable_weight"),
    "loss_watchdog_threshold": lost("training stops at a loss that is not finite, and at no other"),
    "loss_watchdog_patience": lost("training stops at a loss that is not finite, and at no other"),
    "unfrozen_parameters": lost("methods.freeze lists what is frozen, not what is trained"),
    "device_map": lost(ONE_DEVICE),
    "max_memory": lost(ONE_DEVICE),
    "plugins": lost("plugins of axolotl are not used"),
    "trl": rl.put_block,
    "vllm": rl.put_server,
    "eot_tokens": needless("the chat template says which token ends an answer"),
    "peft": lost("adapters that start from quantized weights (LoftQ) are not supported"),
    "skip_prepare_dataset": lost("rows are always prepared, and cached"),
    "strict": needless("unknown names are always refused"),
    "hf_use_auth_token": needless("HF_TOKEN in the environment is used"),
    "remove_unused_columns": needless("only the columns of the task are read"),
}
TABLE = Table(
    RULES,
    {
        **PATTERNS,
        r"flash_attn_.*|flex_attn_.*|flash_optimum|.*_moe_.*|use_\w*moe\w*|experts_.*|.*_experts": lost(SPEED),
        r".*_attention": lost("set model.attn_implementation to eager, sdpa or flash_attention_2"),
        r"gptq.*|fp8.*|qat|quantization|model_quantization_config.*": lost(
            "weights are quantized by bitsandbytes only (quant)"
        ),
        r"relora.*|jagged_.*": lost("adapters are not merged during training"),
        r"generation_.*|generate_samples|num_generation_samples": lost("`finetune chat` and `predict` generate"),
        r"gc_.*|torch_empty_cache_steps|experimental_.*|activation_offloading|layer_offloading": lost(SPEED),
    },
    _defaults,
)
