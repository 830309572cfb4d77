"""Text classification: from a text (or a pair of texts) to one label, several labels, or a number."""

from tasks.data.rows.columns import LABEL, TEXT, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA

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
    metric_names=(
        "accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "matthews", "roc_auc", "loss",
        "f1_micro", "f1_samples", "precision_micro", "recall_micro", "pearson", "spearman", "mse", "rmse", "mae", "r2",
    ),
    metrics_by_problem={
        "single_label_classification": (
            "accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "matthews", "roc_auc", "loss",
        ),
        "multi_label_classification": (
            "f1_micro", "f1_macro", "f1_weighted", "f1_samples", "precision_micro", "recall_micro", "accuracy",
            "roc_auc", "loss",
        ),
        "regression": ("pearson", "spearman", "mse", "rmse", "mae", "r2", "loss"),
    },
    greater_is_better={"loss": False, "mse": False, "rmse": False, "mae": False},
    pipeline_tag="text-classification",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:classified",
    defaults=COMMON,
    lora_defaults=LORA,
)  # fmt: skip
