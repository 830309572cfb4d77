"""Sequence to sequence, from a text to a text: summarization, translation, rewriting."""

from tasks.data.rows.columns import SOURCE, TARGET
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON
from tasks.objectives.metrics import named

SEQUENCE_SEQUENCE = Objective(
    name="sequence-sequence",
    aliases=("seq2seq", "text2text-generation", "summarization", "translation", "sequence-to-sequence"),
    roles=(SOURCE, TARGET),
    prepare="tasks.data.rows.texts:prepare_pairs",
    encode="tasks.data.tokens.encode_pairs:encode_pairs",
    shape=("prefix", "max_target_length"),
    collate="tasks.data.tokens.collate:PadTokenLabels",
    auto_model="AutoModelForSeq2SeqLM",
    cross_entropy="vocabulary",
    peft_task_type="SEQ_2_SEQ_LM",
    predictor="tasks.evaluation.predictors.texts:TextPredictor",
    scorer="tasks.evaluation.scorers.texts:scorer",
    metrics=named(
        "rougeL", "rouge1", "rouge2", "rougeLsum", "bleu", "chrf", "exact_match", "token_accuracy",
        "perplexity", "loss",
    ),
    pipeline_tag="text2text-generation",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:pair_rows",
    # T5 hardly learns at 5e-5 (transformers PR 13240: 1e-4 to 3e-4; the original 1e-3).
    defaults={
        **COMMON,
        "train.learning_rate": 3e-4,
        "train.weight_decay": 0.0,
        "train.predict_with_generate": True,
        "train.generation_max_length": 128,
        "data.max_length": 512,
        "data.max_target_length": 128,
        "peft.r": 16,
        "peft.lora_alpha": 32,
    },
    lora_defaults={"train.learning_rate": 1e-3},
)  # fmt: skip
