"""Metrics of replaced-token detection."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

COLUMNS = ("nll", "tokens", "correct", "detector_nll", "seen", "replaced", "true_positive", "false_positive")
WEIGHT = 50.0  # of the discriminator, as in the loss (ELECTRA, arXiv:2003.10555)


def scorer(head: Mapping[str, Any]) -> Scorer:
    """The metrics of a generator and its discriminator."""
    return Detection()


class Detection:
    """Of the discriminator f1, precision, recall of replaced tokens, accuracy of all, discriminator_loss; of the
    generator token_accuracy of masked tokens, generator_loss; loss: generator's + 50 x discriminator's."""

    def rows(self, batch: pa.Table) -> Any:
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
