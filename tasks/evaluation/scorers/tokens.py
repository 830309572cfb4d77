"""Metrics of language models."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of tokens."""
    return Tokens()


class Tokens:
    """perplexity (exp of the loss), token_accuracy, loss (mean nats per scored token)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        return np.stack([batch[name].to_numpy().astype(np.float64) for name in ("nll", "tokens", "correct")], axis=1)

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        nll, tokens, correct = sums.T
        loss = ratio(nll, tokens)
        with np.errstate(over="ignore"):
            return {"perplexity": np.exp(loss), "token_accuracy": ratio(correct, tokens), "loss": loss}

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
