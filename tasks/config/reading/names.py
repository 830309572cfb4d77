"""Names of fields in other tools, and the most similar name to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from tasks.config.json_types import is_mapping, is_sequence


def nearest(word: str, choices: Collection[str]) -> str | None:
    """Return the choice that is most similar to `word`, or None if none is."""
    tidy = word.strip().lower().replace("-", "_")
    by_tidy = {choice.lower().replace("-", "_"): choice for choice in choices}
    found = difflib.get_close_matches(tidy, list(by_tidy), n=1, cutoff=0.6)
    return by_tidy[found[0]] if found else None


# Names in axolotl, LLaMA-Factory, torchtune, TRL, AutoTrain, Ludwig and txtai, with the name here.
PEERS: Mapping[str, str] = {
    "base_model": "model.name",
    "model_name": "model.name",
    "model_name_or_path": "model.name",
    "pretrained_model_name_or_path": "model.name",
    "checkpoint_dir": "model.name",
    "model_revision": "model.revision",
    "revision_of_model": "model.revision",
    "teacher": "methods.distillation",
    "teacher_model": "methods.distillation",
    "torch_dtype": "model.dtype",
    "attn": "model.attn_implementation",
    "flash_attn": "model.attn_implementation",
    "flash_attention": "model.attn_implementation",
    "trust_remote": "model.trust_remote_code",
    "token": "model.token_secret",
    "hf_token": "model.token_secret",
    "dataset": "data.train",
    "datasets": "data.train",
    "dataset_name": "data.train",
    "data_path": "data.train",
    "train_file": "data.train",
    "train_data": "data.train",
    "train_split": "data.train",
    "validation_file": "data.validation",
    "test_datasets": "data.validation",
    "eval_dataset": "data.validation",
    "valid_split": "data.validation",
    "test_file": "data.test",
    "column_map": "data.columns",
    "column_mapping": "data.columns",
    "text_column": "data.columns.text",
    "sentence1_key": "data.columns.text",
    "sentence2_key": "data.columns.text_pair",
    "label_column": "data.columns.label",
    "target_column": "data.columns.label",
    "val_size": "data.split.validation",
    "val_set_size": "data.split.validation",
    "validation_split": "data.split.validation",
    "test_size": "data.split.test",
    "test_set_size": "data.split.test",
    "maxlength": "data.max_length",
    "block_size": "data.max_length",
    "cutoff_len": "data.max_length",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "model_max_length": "data.max_length",
    "sequence_len": "data.max_length",
    "excess_length_strategy": "data.overlong",
    "truncation_mode": "data.overlong",
    "max_samples": "data.max_train_samples",
    "adapter": "peft.method",
    "adapter_name_or_path": "model.name",
    "lora_model_dir": "model.name",
    "finetuning_type": "peft.method",
    "use_peft": "peft.method",
    "lora": "peft.method",
    "rank": "peft.r",
    "lora_r": "peft.r",
    "lora_rank": "peft.r",
    "alpha": "peft.lora_alpha",
    "dropout": "peft.lora_dropout",
    "target": "peft.target_modules",
    "lora_target": "peft.target_modules",
    "lora_target_linear": "peft.target_modules",
    "lora_target_modules": "peft.target_modules",
    "lora_modules_to_save": "peft.modules_to_save",
    "peft_use_dora": "peft.use_dora",
    "peft_use_rslora": "peft.use_rslora",
    "quantize": "quant.load_in_4bit",
    "quantization": "quant.load_in_4bit",
    "quantization_bit": "quant.load_in_4bit",
    "bits": "quant.load_in_4bit",
    "use_4bit": "quant.load_in_4bit",
    "use_8bit": "quant.load_in_8bit",
    "double_quantization": "quant.bnb_4bit_use_double_quant",
    "lr": "train.learning_rate",
    "batch_size": "train.per_device_train_batch_size",
    "micro_batch_size": "train.per_device_train_batch_size",
    "train_batch_size": "train.per_device_train_batch_size",
    "eval_batch_size": "train.per_device_eval_batch_size",
    "accumulate_grad_batches": "train.gradient_accumulation_steps",
    "gradient_accumulation": "train.gradient_accumulation_steps",
    "epochs": "train.num_train_epochs",
    "num_epochs": "train.num_train_epochs",
    "lr_scheduler": "train.lr_scheduler_type",
    "scheduler": "train.lr_scheduler_type",
    "num_warmup_steps": "train.warmup_steps",
    "warmup": "train.warmup_steps",
    "warmup_proportion": "train.warmup_steps",
    "optimizer": "train.optim",
    "gradient_clipping": "train.max_grad_norm",
    "max_norm": "train.max_grad_norm",
    "label_smoothing": "train.label_smoothing_factor",
    "enable_activation_checkpointing": "train.gradient_checkpointing",
    "evals_per_epoch": "train.eval_steps",
    "saves_per_epoch": "train.save_steps",
    "num_workers": "train.dataloader_num_workers",
    "metric_for_best_model": "eval.best",
    "load_best_model_at_end": "eval.best",
    "early_stopping": "eval.patience",
    "early_stopping_patience": "eval.patience",
    "early_stopping_steps": "eval.patience",
    "merge_adapter": "export.merge",
    "merge_lora": "export.merge",
    "cache_dir": "store.root",
    "project_name": "name",
    "freeze": "methods.freeze",
    "freeze_layers": "methods.freeze",
    "freeze_embeddings": "methods.freeze",
    "frozen_layers": "methods.freeze",
    "num_frozen_layers": "methods.freeze",
    "freeze_trainable_layers": "methods.freeze",
    "unfrozen_parameters": "methods.freeze",
    "unfreeze": "methods.unfreeze",
    "gradual_unfreezing": "methods.unfreeze",
    "layerwise_lr_decay": "methods.layerwise_lr_decay",
    "layer_decay": "methods.layerwise_lr_decay",
    "lr_decay": "methods.layerwise_lr_decay",
    "llrd": "methods.layerwise_lr_decay",
    "head_learning_rate": "methods.head_learning_rate",
    "head_lr": "methods.head_learning_rate",
    "l2_sp": "methods.l2_to_start",
    "l2sp": "methods.l2_to_start",
    "ewc": "methods.ewc",
    "ewc_lambda": "methods.ewc",
    "elastic_weight_consolidation": "methods.ewc",
    "rehearsal": "methods.rehearsal",
    "replay": "methods.rehearsal",
    "experience_replay": "methods.rehearsal",
    "replay_ratio": "methods.rehearsal",
    "random_seed": "seed",
    "train_seed": "seed",
    "output": "output_dir",
    "output_path": "output_dir",
}


# Keys that only whole configs of axolotl and LLaMA-Factory have.
WHOLE = ("base_model", "model_name_or_path", "datasets", "dataset")
CONTINUED = ("completion", "pretrain")  # axolotl's types of texts, not conversations


def whole_hint(path: str, value: object) -> str:
    """Return what to write for the model or the data of a config of axolotl or LLaMA-Factory; empty for other names."""
    if path.removeprefix("data.") not in WHOLE:
        return ""
    entries = [each for each in value if is_mapping(each) and each.get("path")] if is_sequence(value) else []
    translates = "; `finetune init --from FILE` translates a whole config of axolotl or LLaMA-Factory"
    if not entries:
        return translates
    paths = [str(each["path"]) for each in entries]
    texts = all(each.get("type") in CONTINUED for each in entries)
    return (f"; write task: {'language-generation' if texts else 'sft'}, data: {{train: "
            f"{paths[0] if len(paths) == 1 else '[' + ', '.join(paths) + ']'}}} (a data set of the hub: "
            f"hf:owner/name), and data.columns if columns have other names{translates}")  # fmt: skip


def hint(unknown: str, known: Collection[str]) -> str:
    """Return a hint on what to write instead of an unknown dotted name, to append to a message; empty if none fits."""
    parent, _, word = unknown.rpartition(".")
    tidy = word.lower().replace("-", "_")
    if tidy in PEERS and PEERS[tidy] != unknown:
        return f"; here it is called {PEERS[tidy]}"
    elsewhere = sorted(
        (name for name in known if name.rpartition(".")[2] == tidy), key=lambda name: (name.count("."), name)
    )
    if elsewhere:
        return f"; it belongs at {elsewhere[0]}"
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    everywhere = {name.rpartition(".")[2]: name for name in sorted(known, key=lambda name: (-name.count("."), name))}
    for names in (siblings, everywhere):
        near = nearest(word, names)
        if near:
            return f"; did you mean {names[near]}?"
    return ""
