"""Predictions of language models: the likelihood of every token."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, lineage

if TYPE_CHECKING:
    import torch

IGNORED = -100


class TokenPredictor:
    """Masked language models: every masked token is scored.

    Predictions:
        `nll` (nats, summed over the row's scored tokens), `tokens` (their number), `correct` (how many were most
        likely).
    """

    windows = False
    shift = 0
    found = pa.schema([("nll", pa.float64()), ("tokens", pa.int64()), ("correct", pa.int64())])

    def __init__(self, head: Mapping[str, Any], **_: object) -> None:
        pass

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        labels = batch["labels"]
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        logits = logits[:, logits.shape[1] - labels.shape[1] :]  # without those of virtual tokens
        columns = token_scores(logits[:, : logits.shape[1] - self.shift], labels[:, self.shift :])
        tokens = sum(columns["tokens"])
        return BatchPredictions(columns, sum(columns["nll"]) / tokens if tokens else 0.0, tokens)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {name: found[name] for name in found.column_names})


class NextTokenPredictor(TokenPredictor):
    """Causal language models: every token is scored given those before it."""

    shift = 1


def token_scores(logits: "torch.Tensor", labels: "torch.Tensor") -> dict[str, list[float]]:
    """Return `nll`, `tokens`, `correct` of each row; one row at a time, to avoid a second copy of all logits.

    Args:
        logits: shape (rows, tokens, vocabulary). labels: shape (rows, tokens), -100 for tokens that are not scored.
    """
    from torch.nn.functional import cross_entropy

    columns: dict[str, list[Any]] = {"nll": [], "tokens": [], "correct": []}
    for row, wanted in zip(logits, labels, strict=True):
        scored = wanted != IGNORED
        chosen, right = row[scored].float(), wanted[scored]
        columns["nll"].append(float(cross_entropy(chosen, right, reduction="sum")) if len(right) else 0.0)
        columns["tokens"].append(len(right))
        columns["correct"].append(int((chosen.argmax(-1) == right).sum()))
    return columns
