"""Metrics of models that learn from rewards."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

MEANS = ("reward", "completion_length", "truncated")
COMPARED = ("win_rate", "reward_before")


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of rewarded answers."""
    return Rewarded()


class Rewarded:
    """reward (mean of the answers'), completion_length (mean, tokens), truncated (share of answers without an end); and
    if they are compared with those of the model before training, win_rate (share of rows whose answer has a higher
    reward than before; equal ones count half) and reward_before (mean)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        values = [batch[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in MEANS]
        if "reward_before" in batch.column_names:
            before = batch["reward_before"].to_numpy()
            values += [np.where(values[0] == before, 0.5, values[0] > before), before]
        return np.stack([np.ones(batch.num_rows), *values], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        rows, *totals = sums.T
        return {name: ratio(total, rows) for name, total in zip((*MEANS, *COMPARED), totals, strict=False)}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
