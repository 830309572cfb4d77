"""Weights of the micro-batches of one step: the number of terms that each loss is a mean over."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


def scored(batch: Any) -> int | None:
    """How many tokens of a batch have a label; None where labels are not one a token."""
    labels = batch.get("labels") if hasattr(batch, "get") else None
    if labels is None or labels.ndim != 2 or labels.is_floating_point():
        return None
    return int((labels != -100).sum())


def weigh(batches: Sequence[dict[str, torch.Tensor]], terms: Callable[[Any], Sequence[int]]) -> None:
    """Give each micro-batch the `weights` of its loss's terms, where each term is a mean over another count."""
    counts = torch.tensor([terms(batch) for batch in batches], dtype=torch.float64)
    for batch, share in zip(batches, counts * len(batches) / counts.sum(0).clamp(min=1), strict=True):
        batch["weights"] = share.float()
