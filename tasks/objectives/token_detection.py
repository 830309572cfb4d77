"""Replaced token detection: trained on texts, a model detects replaced tokens (ELECTRA, arXiv:2003.10555)."""

from tasks.data.rows.columns import PLAIN, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import MASKED, MASKED_LORA
from tasks.objectives.metrics import named

TOKEN_DETECTION = Objective(
    name="token-detection",
    aliases=("replaced-token-detection", "rtd", "electra"),
    roles=(PLAIN, TEXT_PAIR),
    prepare="tasks.data.rows.texts:prepare",
    encode="tasks.data.tokens.encode_stream:encode_stream",
    gather="tasks.data.tokens.encode_stream:merge_masked",
    shape=("merge", "append_eos"),
    view="tasks.data.tokens.masking:AlwaysMaskedRows",
    collate="tasks.data.tokens.collate:PadMaskedBatch",
    auto_model="tasks.models.detection:ReplacedTokenDetection",
    peft_task_type="FEATURE_EXTRACTION",
    predictor="tasks.evaluation.predictors.detection:DetectionPredictor",
    scorer="tasks.evaluation.scorers.detection:scorer",
    metrics=named(
        "f1", "precision", "recall", "accuracy", "generator_loss", "discriminator_loss", "token_accuracy",
        "loss",
    ),
    pipeline_tag="",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:text_rows",
    inference={
        "encode": "tasks.data.tokens.encode:encode_text",
        "view": "tasks.data.tokens.dataset:TokenRows",
        "collate": "tasks.data.tokens.collate:PadBatch",
        "predictor": "tasks.evaluation.predictors.detection:ReplacedPredictor",
    },
    needs=("mask_token",),
    defaults=MASKED,
    lora_defaults=MASKED_LORA,
)  # fmt: skip
