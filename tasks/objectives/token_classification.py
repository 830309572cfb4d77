"""Token classification: a tag for each word: entities, parts of speech, chunks."""

from tasks.data.rows.columns import TAGS, TOKENS
from tasks.objectives.base import Objective
from tasks.objectives.defaults import COMMON, LORA
from tasks.objectives.metrics import named

TOKEN_CLASSIFICATION = Objective(
    name="token-classification",
    aliases=("ner", "named-entity-recognition", "pos-tagging", "sequence-tagging", "tagging"),
    roles=(TOKENS, TAGS),
    prepare="tasks.data.rows.tagging:prepare",
    encode="tasks.data.tokens.encode_words:encode_words",
    shape=("stride", "label_all_tokens"),
    collate="tasks.data.tokens.collate:PadTokenLabels",
    auto_model="AutoModelForTokenClassification",
    cross_entropy="tokens",
    peft_task_type="TOKEN_CLS",
    predictor="tasks.evaluation.predictors.words:WordPredictor",
    scorer="tasks.evaluation.scorers.tags:scorer",
    metrics=named("f1", "precision", "recall", "accuracy", "loss"),
    pipeline_tag="token-classification",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:tagging_rows",
    needs=("fast",),
    # Hugging Face's run_ner trains with 5e-5; truncation loses tags, windows do not.
    defaults={
        **COMMON,
        "train.learning_rate": 5e-5,
        "train.per_device_train_batch_size": 16,
        "data.overlong": "window",
        "data.stride": 64,
    },
    lora_defaults=LORA,
)
