"""Kahneman-Tversky optimization (arXiv:2402.01306): an answering model learns which answers are desirable."""

from tasks.data.rows.columns import RATED
from tasks.objectives.base import Objective
from tasks.objectives.metrics import named
from tasks.objectives.preferences import ANSWERING, SAMPLES, USUAL

KTO = Objective(
    name="kto",
    aliases=("kahneman-tversky-optimization", "unpaired-preference"),
    roles=RATED,
    prepare="tasks.data.chat.preferences:prepare_rated",
    encode="tasks.data.chat.encode_preferences:encode_rated",
    loss="tasks.evaluation.preferences:kto_loss",
    predictor="tasks.evaluation.predictors.preferences:RatedPredictor",
    scorer="tasks.evaluation.scorers.preferences:rated",
    metrics=named("roc_auc", "margin", "desirable_reward", "undesirable_reward", "loss", "exact_match"),
    answers="messages",
    options=("beta", "loss_type", "desirable_weight", "undesirable_weight", "disable_dropout"),
    loss_types=("kto", "apo_zero_unpaired"),
    defaults={**USUAL, **SAMPLES, "train.per_device_train_batch_size": 8, "train.per_device_eval_batch_size": 8,
              "preference.loss_type": "kto", "preference.desirable_weight": 1.0, "preference.undesirable_weight": 1.0},
    **ANSWERING,
)  # fmt: skip
