"""Defaults by common practice; each task overrides those that differ."""

from collections.abc import Mapping
from typing import Any

# BERT (arXiv:1810.04805, A.3): batch 16 or 32, 2e-5 to 5e-5, 2 to 4 epochs.
COMMON: Mapping[str, Any] = {
    "train.learning_rate": 3e-5,
    "train.per_device_train_batch_size": 32,
    "train.per_device_eval_batch_size": 64,
    "train.gradient_accumulation_steps": 1,
    "train.num_train_epochs": 3.0,
    "train.max_steps": -1,
    "train.weight_decay": 0.01,
    "train.warmup_steps": 0.06,
    "train.lr_scheduler_type": "linear",
    "train.max_grad_norm": 1.0,
    "train.optim": "adamw_torch_fused",
    "train.label_smoothing_factor": 0.0,
    "train.train_sampling_strategy": "group_by_length",
    "train.eval_strategy": "epoch",
    "train.logging_steps": 10,
    "data.max_length": 256,
    "data.overlong": "truncate",
    "peft.r": 8,
    "peft.lora_alpha": 16,
    "peft.lora_dropout": 0.05,
}

# LoRA needs about ten times the learning rate of full fine-tuning (arXiv:2106.09685, table 9; Thinking Machines 2025,
# "LoRA Without Regret").
LORA: Mapping[str, Any] = {"train.learning_rate": 3e-4}

# Methods with far fewer parameters than LoRA take larger steps still: (IA)^3 as in T-Few (arXiv:2205.05638), VeRA as in
# its paper (arXiv:2310.11454, table 8), prompts as in peft's examples. Bottleneck adapters as in AdapterHub's. Other
# methods are near LoRA.
RATE_BY_METHOD: Mapping[str, float] = {
    "bottleneck": 1e-4, "ia3": 3e-3, "vera": 4e-3, "p_tuning": 1e-3, "prefix_tuning": 1e-2, "prompt_tuning": 3e-2,
}  # fmt: skip

# Masked language models: Hugging Face's run_mlm, one line per row, grouped by length.
MASKED: Mapping[str, Any] = {
    **COMMON,
    "train.learning_rate": 5e-5,
    "data.overlong": "window",
    "data.merge": "none",
    "data.append_eos": False,
    "data.mlm_probability": 0.15,
    "peft.r": 16,
    "peft.lora_alpha": 32,
}
MASKED_LORA: Mapping[str, Any] = {"train.learning_rate": 2e-4}
