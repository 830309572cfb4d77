"""Causal language models: trained on texts, they continue a text."""

from tasks.data.rows.columns import PLAIN, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON
from tasks.objectives.metrics import named

LANGUAGE_GENERATION = Objective(
    name="language-generation",
    aliases=("text-generation", "causal-lm", "causal-language-modeling", "clm", "pretraining"),
    roles=(PLAIN, TEXT_PAIR),
    prepare="tasks.data.rows.texts:prepare",
    encode="tasks.data.tokens.encode_stream:encode_stream",
    gather="tasks.data.tokens.encode_stream:merge_stream",
    shape=("merge", "packing", "append_eos"),
    collate="tasks.data.tokens.collate:CausalBatch",
    auto_model="AutoModelForCausalLM",
    cross_entropy="next_token",
    peft_task_type="CAUSAL_LM",
    predictor="tasks.evaluation.predictors.tokens:NextTokenPredictor",
    scorer="tasks.evaluation.scorers.tokens:scorer",
    metrics=named("perplexity", "token_accuracy", "loss"),
    pipeline_tag="text-generation",
    loss_ignores_num_items=False,
    inference_rows="tasks.data.rows.inference_rows:text_rows",
    inference={
        "encode": "tasks.data.tokens.encode:encode_prompt",
        "view": "tasks.data.tokens.dataset:TokenRows",
        "collate": "tasks.data.tokens.collate:PromptBatch",
        "predictor": "tasks.evaluation.predictors.prompts:PromptPredictor",
    },
    # axolotl's and LLaMA-Factory's continued pre-training; all rows have one length, so there is no grouping.
    defaults={
        **COMMON,
        "train.learning_rate": 2e-5,
        "train.per_device_train_batch_size": 8,
        "train.per_device_eval_batch_size": 8,
        "train.gradient_accumulation_steps": 4,
        "train.num_train_epochs": 1.0,
        "train.warmup_steps": 0.03,
        "train.lr_scheduler_type": "cosine",
        "train.train_sampling_strategy": "random",
        "data.max_length": 1024,
        "data.overlong": "window",
        "data.merge": "concat",
        "data.append_eos": True,
        "peft.r": 16,
        "peft.lora_alpha": 32,
    },
    lora_defaults={"train.learning_rate": 1e-4},
)
