"""Supervised fine-tuning on conversations (instruction tuning): a causal language model learns the answers."""

from tasks.data.rows.columns import CONVERSATION, RAW
from tasks.objectives.base import Objective
from tasks.objectives.language_generation import LANGUAGE_GENERATION
from tasks.objectives.metrics import named

STREAM = ("data.merge", "data.append_eos")

SFT = Objective(
    name="sft",
    aliases=("supervised-fine-tuning", "instruction-tuning", "chat"),
    roles=(*CONVERSATION, RAW),
    prepare="tasks.data.chat.rows:prepare",
    encode="tasks.data.chat.encode:encode_conversation",
    gather="tasks.data.chat.pack:pack_conversations",
    shape=("packing", "train_on"),
    collate="tasks.data.tokens.collate:ConversationBatch",
    auto_model="AutoModelForCausalLM",
    cross_entropy="next_token",
    peft_task_type="CAUSAL_LM",
    predictor="tasks.evaluation.predictors.tokens:NextTokenPredictor",
    scorer="tasks.evaluation.scorers.tokens:scorer",
    metrics=named("perplexity", "token_accuracy", "loss", "exact_match"),
    pipeline_tag="text-generation",
    sample='[{"role": "user", "content": "your question"}]',
    loss_ignores_num_items=False,
    inference_rows="tasks.data.chat.rows:inference_rows",
    inference={
        "encode": "tasks.data.chat.encode:encode_chat_prompt",
        "view": "tasks.data.tokens.dataset:TokenRows",
        "collate": "tasks.data.tokens.collate:PromptBatch",
        "predictor": "tasks.evaluation.predictors.prompts:AnswerPredictor",
    },
    ends="tasks.data.chat.template:generation_tokens",
    answers="messages",
    samples="tasks.evaluation.samples:sample_answers",
    needs=("fast", "chat_template"),
    # TRL's SFTConfig trains three epochs; LLaMA-Factory's examples train LoRA at 1e-4.
    defaults={
        **{name: value for name, value in LANGUAGE_GENERATION.defaults.items() if name not in STREAM},
        "train.train_sampling_strategy": "group_by_length",
        "train.num_train_epochs": 3.0,
        "data.overlong": "truncate",
        "eval.samples": 3,
    },
    lora_defaults=LANGUAGE_GENERATION.lora_defaults,
)
