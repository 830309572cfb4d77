"""Regression: from a text (or a pair of texts) to a number."""

from tasks.data.rows.columns import SCORE, TEXT, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA
from tasks.objectives.metrics import named

REGRESSION = Objective(
    name="regression",
    aliases=("text-regression", "sentence-similarity", "semantic-textual-similarity"),
    roles=(TEXT, TEXT_PAIR, SCORE),
    prepare="tasks.data.rows.classification:prepare_numbers",
    encode="tasks.data.tokens.encode:encode_text",
    shape=("stride",),
    collate="tasks.data.tokens.collate:PadBatch",
    auto_model="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    predictor="tasks.evaluation.predictors.classes:ClassPredictor",
    scorer="tasks.evaluation.scorers.classes:scorer",
    metrics=named("pearson", "spearman", "mse", "rmse", "mae", "r2", "loss"),
    pipeline_tag="text-classification",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:classification_rows",
    defaults={**COMMON, "train.num_train_epochs": 4.0},
    lora_defaults=LORA,
)
