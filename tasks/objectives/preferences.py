"""What the tasks that learn from preferences have in common."""

from collections.abc import Mapping
from typing import Any

from tasks.objectives.sft import SFT

# TRL's DPOConfig and KTOConfig: 1e-6 and one epoch for the whole model; LLaMA-Factory's examples train LoRA at 5e-6,
# TRL's at 5e-6 to 1e-5.
USUAL: Mapping[str, Any] = {
    **{name: value for name, value in SFT.defaults.items() if name not in ("data.train_on", "eval.samples")},
    "train.learning_rate": 1e-6,
    "train.per_device_train_batch_size": 4,
    "train.per_device_eval_batch_size": 4,
    "train.num_train_epochs": 1.0,
    "train.warmup_steps": 0.1,
    "preference.beta": 0.1,
    "preference.disable_dropout": True,
}
PARTS: Mapping[str, Any] = {
    "shape": (),
    "collate": "tasks.data.tokens.collate:PairBatch",
    "trainer": "tasks.training.preferences:PreferenceTrainer",
    "loss_ignores_num_items": True,
    "needs": ("fast", "chat_template"),
}
SAMPLES: Mapping[str, Any] = {"eval.samples": SFT.defaults["eval.samples"]}
ANSWERING: Mapping[str, Any] = {
    **PARTS,
    "auto_model": "AutoModelForCausalLM",
    "peft_task_type": "CAUSAL_LM",
    "reference": "tasks.evaluation.preferences:reference_log_probs",
    "pipeline_tag": "text-generation",
    "sample": SFT.sample,
    "ends": SFT.ends,
    "inference_rows": "tasks.data.chat.preferences:no_labelled_rows",
    "inference": SFT.inference,
    "samples": SFT.samples,
    "lora_defaults": {"train.learning_rate": 5e-6},
}
