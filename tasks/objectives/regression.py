"""One text (or a pair of texts) in, a number out."""

from tasks.data.columns import SCORE, TEXT, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA

REGRESSION = Objective(
    name="regression",
    aliases=("text-regression", "sentence-similarity", "semantic-textual-similarity"),
    roles=(TEXT, TEXT_PAIR, SCORE),
    prepare="tasks.data.classification:prepare_numbers",
    encode="tasks.data.encode:encode_text",
    shape=("stride",),
    collate="tasks.data.collate:PadBatch",
    auto_model="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    judge="tasks.evaluation.by_class:ClassJudge",
    score="tasks.evaluation.scores_classes:scorer",
    metric_names=("pearson", "spearman", "mse", "rmse", "mae", "r2", "loss"),
    greater_is_better={"loss": False, "mse": False, "rmse": False, "mae": False},
    pipeline_tag="text-classification",
    loss_ignores_num_items=True,
    unseen="tasks.data.unseen:classified",
    defaults={**COMMON, "train.num_train_epochs": 4.0},
    lora_defaults=LORA,
)
