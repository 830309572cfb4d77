"""Weights of the micro-batches of one step: the number of terms over which each loss is averaged."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


def scored(batch: Any) -> int | None:
    """Return the number of labelled tokens in a batch; None if labels are not per token."""
    labels = batch.get("labels") if hasattr(batch, "get") else None
    if labels is None or labels.ndim != 2 or labels.is_floating_point():
        return None
    return int((labels != -100).sum())


def weigh(batches: Sequence[dict[str, torch.Tensor]], terms: Callable[[Any], Sequence[int]]) -> None:
    """Set each micro-batch's `weights` of its loss terms, as each term is a mean over another count."""
    counts = torch.tensor([terms(batch) for batch in batches], dtype=torch.float64)
    for batch, share in zip(batches, counts * len(batches) / counts.sum(0).clamp(min=1), strict=True):
        batch["weights"] = share.float()
