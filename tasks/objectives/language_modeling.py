"""Masked language models: trained on texts, they fill in masked tokens."""

from tasks.data.rows.columns import PLAIN, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import MASKED, MASKED_LORA
from tasks.objectives.metrics import named

LANGUAGE_MODELING = Objective(
    name="language-modeling",
    aliases=("fill-mask", "masked-lm", "masked-language-modeling", "mlm"),
    roles=(PLAIN, TEXT_PAIR),
    prepare="tasks.data.rows.texts:prepare",
    encode="tasks.data.tokens.encode_stream:encode_stream",
    gather="tasks.data.tokens.encode_stream:merge_masked",
    shape=("merge", "append_eos"),
    view="tasks.data.tokens.masking:MaskedRows",
    collate="tasks.data.tokens.collate:PadTokenLabels",
    auto_model="AutoModelForMaskedLM",
    cross_entropy="vocabulary",
    peft_task_type="FEATURE_EXTRACTION",
    predictor="tasks.evaluation.predictors.tokens:TokenPredictor",
    scorer="tasks.evaluation.scorers.tokens:scorer",
    metrics=named("perplexity", "token_accuracy", "loss"),
    pipeline_tag="fill-mask",
    loss_ignores_num_items=True,
    inference_rows="tasks.data.rows.inference_rows:text_rows",
    inference={
        "encode": "tasks.data.tokens.encode:encode_text",
        "view": "tasks.data.tokens.dataset:TokenRows",
        "collate": "tasks.data.tokens.collate:PadBatch",
        "predictor": "tasks.evaluation.predictors.masks:MaskPredictor",
    },
    needs=("mask_token",),
    defaults=MASKED,
    lora_defaults=MASKED_LORA,
)
