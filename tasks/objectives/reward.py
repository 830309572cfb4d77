"""Reward models: from a conversation to the score of its answer, learned from preferences."""

from tasks.data.rows.columns import MARGIN, PREFERENCE
from tasks.objectives.base import Objective
from tasks.objectives.metrics import named
from tasks.objectives.preferences import PARTS, USUAL

REWARD = Objective(
    name="reward",
    aliases=("reward-model", "reward-modeling"),
    roles=(*PREFERENCE, MARGIN),
    prepare="tasks.data.chat.preferences:prepare_scores",
    encode="tasks.data.chat.encode_preferences:encode_preference",
    auto_model="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    loss="tasks.evaluation.preferences:reward_loss",
    predictor="tasks.evaluation.predictors.preferences:ScorePredictor",
    scorer="tasks.evaluation.scorers.preferences:pairs",
    metrics=named("accuracy", "margin", "chosen_reward", "rejected_reward", "loss"),
    options=("center_rewards_coefficient", "disable_dropout"),
    pipeline_tag="text-classification",
    inference_rows="tasks.data.chat.preferences:rows_to_score",
    inference={
        "encode": "tasks.data.chat.encode_preferences:encode_answered",
        "view": "tasks.data.tokens.dataset:TokenRows",
        "collate": "tasks.data.tokens.collate:PadBatch",
        "predictor": "tasks.evaluation.predictors.classes:ClassPredictor",
    },
    # TRL's RewardConfig trains one epoch at 1e-4, for LoRA; the whole model at the rate of LLaMA-Factory's examples.
    defaults={**{name: value for name, value in USUAL.items() if name != "preference.beta"},
              "train.learning_rate": 1e-5},
    lora_defaults={"train.learning_rate": 1e-4},
    **PARTS,
)  # fmt: skip
