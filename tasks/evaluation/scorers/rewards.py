"""Metrics of models that learn from rewards."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

MEANS = ("reward", "completion_length", "truncated")


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of rewarded answers."""
    return Rewarded()


class Rewarded:
    """reward (mean of the answers'), completion_length (mean, tokens), truncated (share of answers without an end)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        values = [batch[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in MEANS]
        return np.stack([np.ones(batch.num_rows), *values], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        rows, *totals = sums.T
        return {name: ratio(total, rows) for name, total in zip(MEANS, totals, strict=True)}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
