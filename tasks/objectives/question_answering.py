"""Extractive question answering: from a question and a text to the span of the text that answers it."""

from tasks.data.rows.columns import ANSWER_START, ANSWERS, CONTEXT, QUESTION
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA
from tasks.objectives.metrics import named

QUESTION_ANSWERING = Objective(
    name="question-answering",
    aliases=("extractive-question-answering", "extractive-qa", "qa", "squad"),
    roles=(QUESTION, CONTEXT, ANSWERS, ANSWER_START),
    prepare="tasks.data.rows.questions:prepare",
    encode="tasks.data.tokens.encode_answers:encode_answers",
    shape=("stride",),
    collate="tasks.data.tokens.collate:PadBatch",
    auto_model="AutoModelForQuestionAnswering",
    peft_task_type="QUESTION_ANS",
    predictor="tasks.evaluation.predictors.spans:SpanPredictor",
    scorer="tasks.evaluation.scorers.answers:scorer",
    metrics=named(
        "f1", "exact_match", "loss", "has_answer_f1", "has_answer_exact_match", "no_answer_f1",
        "no_answer_exact_match",
    ),
    pipeline_tag="question-answering",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:question_rows",
    needs=("fast",),
    # Hugging Face's run_qa: 3e-5, batch 12, two epochs, windows of 384 tokens with an overlap of 128.
    defaults={
        **COMMON,
        "train.per_device_train_batch_size": 12,
        "train.num_train_epochs": 2.0,
        "data.max_length": 384,
        "data.stride": 128,
        "data.overlong": "window",
    },
    lora_defaults=LORA,
)  # fmt: skip
