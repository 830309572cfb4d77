"""Metrics of models that learn from preferences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio


def pairs(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of pairs of answers."""
    return Pairs()


def rated(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of single answers."""
    return Rated()


class Pairs:
    """accuracy (share of rows whose chosen answer has the higher reward; equal ones count half), margin (mean
    difference), chosen_reward and rejected_reward (means)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        chosen, rejected = (batch[f"{side}_reward"].to_numpy().astype(np.float64) for side in ("chosen", "rejected"))
        right = np.where(chosen == rejected, 0.5, chosen > rejected)
        return np.stack([np.ones_like(chosen), right, chosen, rejected], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        rows, right, chosen, rejected = sums.T
        means = {"chosen_reward": ratio(chosen, rows), "rejected_reward": ratio(rejected, rows)}
        return {"accuracy": ratio(right, rows), "margin": ratio(chosen - rejected, rows), **means}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}


class Rated:
    """margin (difference of the means), desirable_reward and undesirable_reward (means), roc_auc (probability that a
    desirable answer has a higher reward than an undesirable one; equal ones count half)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        reward, desirable = batch["reward"].to_numpy().astype(np.float64), batch["label"].to_numpy().astype(np.float64)
        return np.stack([desirable, desirable * reward, 1 - desirable, (1 - desirable) * reward], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        wanted, wanted_reward, others, others_reward = sums.T
        means = {"desirable_reward": ratio(wanted_reward, wanted), "undesirable_reward": ratio(others_reward, others)}
        return {"margin": means["desirable_reward"] - means["undesirable_reward"], **means}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        from scipy.stats import rankdata

        reward, desirable = table["reward"].to_numpy(), table["label"].to_numpy(zero_copy_only=False).astype(bool)
        wanted, others = int(desirable.sum()), int((~desirable).sum())
        if not (wanted and others):
            return {}
        above = rankdata(reward)[desirable].sum() - wanted * (wanted + 1) / 2
        return {"roc_auc": float(above / (wanted * others))}
