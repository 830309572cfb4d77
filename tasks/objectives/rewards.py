"""What the tasks that learn from rewards of their own answers have in common."""

from collections.abc import Mapping
from typing import Any

from tasks.data.rows.columns import HISTORY, INPUT, MESSAGES, PROMPT, SYSTEM, TOOLS
from tasks.objectives.metrics import named
from tasks.objectives.preferences import USUAL as PREFERENCE
from tasks.objectives.sft import SFT

SAMPLING = ("reward_funcs", "reward_model", "reward_weights", "num_generations", "max_completion_length", "temperature",
            "top_k", "top_p", "num_iterations", "epsilon", "disable_dropout", "win_rate")  # fmt: skip
USUAL: Mapping[str, Any] = {
    **{name: value for name, value in PREFERENCE.items() if not name.startswith("preference.")},
    "train.train_sampling_strategy": "random",
    "train.per_device_eval_batch_size": 8,
    "data.overlong": "drop",
    "rl.max_completion_length": 256,
    "rl.temperature": 1.0,
    "rl.epsilon": 0.2,
    "rl.disable_dropout": True,
    "rl.win_rate": True,
}
PARTS: Mapping[str, Any] = {
    "roles": (MESSAGES, PROMPT, INPUT, SYSTEM, HISTORY, TOOLS),
    "prepare": "tasks.data.chat.prompts:prepare",
    "encode": "tasks.data.chat.prompts:encode_prompt_row",
    "shape": (),
    "collate": "tasks.data.tokens.collate:PromptRows",
    "auto_model": "AutoModelForCausalLM",
    "peft_task_type": "CAUSAL_LM",
    "predictor": "tasks.evaluation.predictors.rewards:RewardPredictor",
    "scorer": "tasks.evaluation.scorers.rewards:scorer",
    "metrics": named("reward", "win_rate", "completion_length", "truncated", "reward_before"),
    "pipeline_tag": "text-generation",
    "sample": SFT.sample,
    "loss_ignores_num_items": True,
    "inference_rows": "tasks.data.chat.prompts:no_labelled_rows",
    "inference": SFT.inference,
    "ends": SFT.ends,
    "needs": ("fast", "chat_template"),
    "lora_defaults": {"train.learning_rate": 1e-5},
}
