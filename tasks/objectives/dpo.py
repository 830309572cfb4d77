"""Direct preference optimization (arXiv:2305.18290): an answering model learns which of two answers is preferred."""

from tasks.data.rows.columns import PREFERENCE
from tasks.objectives.base import Objective
from tasks.objectives.metrics import named
from tasks.objectives.preferences import ANSWERING, SAMPLES, USUAL

DPO = Objective(
    name="dpo",
    aliases=("direct-preference-optimization", "preference-optimization"),
    roles=PREFERENCE,
    prepare="tasks.data.chat.preferences:prepare",
    encode="tasks.data.chat.encode_preferences:encode_preference",
    loss="tasks.evaluation.preferences:dpo_loss",
    predictor="tasks.evaluation.predictors.preferences:PreferencePredictor",
    scorer="tasks.evaluation.scorers.preferences:pairs",
    metrics=named("accuracy", "margin", "chosen_reward", "rejected_reward", "loss", "exact_match"),
    answers="chosen",
    options=("beta", "loss_type", "label_smoothing", "simpo_gamma", "disable_dropout"),
    loss_types=("sigmoid", "hinge", "ipo", "sigmoid_norm", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard",
                "apo_zero", "apo_down", "simpo", "orpo"),
    reference_free=("simpo", "orpo"),
    defaults={**USUAL, **SAMPLES, "preference.loss_type": "sigmoid", "preference.label_smoothing": 0.0,
              "preference.simpo_gamma": 0.5},
    **ANSWERING,
)  # fmt: skip
