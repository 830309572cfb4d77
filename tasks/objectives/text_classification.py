"""Text classification: from a text (or a pair of texts) to one label, several labels, or a number."""

from tasks.data.rows.columns import LABEL, TEXT, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA
from tasks.objectives.metrics import named
from tasks.objectives.regression import REGRESSION

METRICS_BY_PROBLEM = {
    "single_label_classification": (
        "accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "matthews", "roc_auc", "loss",
    ),
    "multi_label_classification": (
        "f1_micro", "f1_macro", "f1_weighted", "f1_samples", "precision_micro", "recall_micro", "accuracy", "roc_auc",
        "loss",
    ),
    "regression": REGRESSION.metric_names,
}  # fmt: skip

TEXT_CLASSIFICATION = Objective(
    name="text-classification",
    aliases=(
        "sequence-classification", "sentiment-analysis", "single-label-classification", "multi-label-classification",
        "text-pair-classification", "natural-language-inference",
    ),
    roles=(TEXT, TEXT_PAIR, LABEL),
    prepare="tasks.data.rows.classification:prepare",
    encode="tasks.data.tokens.encode:encode_text",
    shape=("stride",),
    collate="tasks.data.tokens.collate:PadBatch",
    auto_model="AutoModelForSequenceClassification",
    cross_entropy="rows",
    peft_task_type="SEQ_CLS",
    predictor="tasks.evaluation.predictors.classes:ClassPredictor",
    scorer="tasks.evaluation.scorers.classes:scorer",
    metrics=named(*(name for names in METRICS_BY_PROBLEM.values() for name in names)),
    metrics_by_problem=METRICS_BY_PROBLEM,
    pipeline_tag="text-classification",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:classification_rows",
    defaults=COMMON,
    lora_defaults=LORA,
)  # fmt: skip
