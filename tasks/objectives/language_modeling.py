"""Texts in, a model that fills in what is masked out: masked language models."""

from tasks.data.columns import PLAIN, TEXT_PAIR
from tasks.objectives.base import Objective
from tasks.objectives.defaults import MASKED, MASKED_LORA

LANGUAGE_MODELING = Objective(
    name="language-modeling",
    aliases=("fill-mask", "masked-lm", "masked-language-modeling", "mlm"),
    roles=(PLAIN, TEXT_PAIR),
    prepare="tasks.data.texts:prepare",
    encode="tasks.data.encode_stream:encode_stream",
    gather="tasks.data.encode_stream:merge_masked",
    shape=("merge", "append_eos"),
    view="tasks.data.masking:MaskedRows",
    collate="tasks.data.collate:PadTokenLabels",
    auto_model="AutoModelForMaskedLM",
    peft_task_type="FEATURE_EXTRACTION",
    judge="tasks.evaluation.by_token:TokenJudge",
    score="tasks.evaluation.scores_tokens:scorer",
    metric_names=("perplexity", "token_accuracy", "loss"),
    greater_is_better={"loss": False, "perplexity": False},
    pipeline_tag="fill-mask",
    loss_ignores_num_items=True,
    unseen="tasks.data.unseen:written",
    asked={
        "encode": "tasks.data.encode:encode_text",
        "view": "tasks.data.rows:TokenRows",
        "collate": "tasks.data.collate:PadBatch",
        "judge": "tasks.evaluation.by_mask:MaskJudge",
    },
    needs=("mask_token",),
    defaults=MASKED,
    lora_defaults=MASKED_LORA,
)
