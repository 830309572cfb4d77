"""Predictions of models that learn from preferences: the rewards of answers."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, lineage
from tasks.evaluation.preferences import Terms, dpo_terms, kto_terms, reward_terms


class PreferencePredictor:
    """Predictions:
    `chosen_reward` and `rejected_reward`: `beta` times the log-ratio to the reference model.
    """

    windows = False
    found = pa.schema([("chosen_reward", pa.float64()), ("rejected_reward", pa.float64())])
    terms: Callable[..., Terms] = staticmethod(dpo_terms)

    def __init__(self, head: Mapping[str, Any], options: Mapping[str, Any], **_: object) -> None:
        self.options = options

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        found = self.terms(model, batch, **self.options)
        columns = {"chosen_reward": found.chosen.tolist(), "rejected_reward": found.rejected.tolist()}
        return BatchPredictions(columns, float(found.losses.mean()), len(found.losses))

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {name: found[name] for name in found.column_names})


class ScorePredictor(PreferencePredictor):
    """Predictions:
    `chosen_reward` and `rejected_reward`: the scores of a reward model.
    """

    terms = staticmethod(reward_terms)


class RatedPredictor(PreferencePredictor):
    """Predictions:
    `label` (whether the answer is desirable) and `reward`.
    """

    found = pa.schema([("reward", pa.float64())])

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        found = kto_terms(model, batch, **self.options)
        return BatchPredictions({"reward": found.chosen.tolist()}, float(found.losses.mean()), len(found.losses))

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        label = tokens["desirable"].cast(pa.bool_())
        return pa.table(lineage(tokens) | {"label": label, "reward": found["reward"]})
