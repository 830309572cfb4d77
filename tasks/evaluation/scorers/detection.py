"""Metrics of replaced-token detection."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

COLUMNS = ("nll", "tokens", "correct", "detector_nll", "seen", "replaced", "true_positive", "false_positive")
WEIGHT = 50.0  # of the discriminator's loss (ELECTRA, arXiv:2003.10555)


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of a generator and its discriminator."""
    return Detection()


class Detection:
    """For the discriminator f1, precision, recall of replaced tokens, accuracy of all tokens, discriminator_loss; for
    the generator token_accuracy of masked tokens, generator_loss; loss: generator's + 50 × discriminator's."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        return np.stack([batch[name].to_numpy().astype(np.float64) for name in COLUMNS], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        nll, tokens, correct, detector, seen, replaced, hits, alarms = sums.T
        losses = ratio(nll, tokens), ratio(detector, seen)
        return {
            "f1": ratio(2 * hits, hits + alarms + replaced),
            "precision": ratio(hits, hits + alarms),
            "recall": ratio(hits, replaced),
            "accuracy": ratio(seen - alarms - (replaced - hits), seen),
            "generator_loss": losses[0],
            "discriminator_loss": losses[1],
            "token_accuracy": ratio(correct, tokens),
            "loss": losses[0] + WEIGHT * losses[1],
        }

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
