"""The diagonal of the Fisher information of a model's loss: how much each weight matters for a task."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from tasks.config.errors import ConfigError
from tasks.models.bodies import body_of
from tasks.models.selected_logits import labelled

TOKENS = ("tokens", "vocabulary", "next_token")  # a loss over labelled tokens (see `Objective.cross_entropy`)


def sampled(rows: int, samples: int) -> list[int]:
    """Return the positions of `samples` of the rows, or of all, in order: always the same ones."""
    if samples >= rows:
        return [*range(rows)]
    return np.sort(np.random.Generator(np.random.PCG64(0)).choice(rows, samples, replace=False)).tolist()


def label_count(batch: Mapping[str, Any], kind: str | None) -> int:
    """Return how many labelled tokens, or else rows, the loss of a batch is a mean over.

    Args:
        kind: what the loss is a cross-entropy over (see `Objective.cross_entropy`).
    """
    if kind in TOKENS:
        return int(labelled(batch["labels"], kind == "next_token").sum())
    return len(next(iter(batch.values())))


def loss_of(model: Any, batch: Mapping[str, Any], loss: Callable[..., Any] | None) -> torch.Tensor:
    """Return the mean loss of a batch: the model's own, or `loss(model, batch)`."""
    return loss(model, batch)[0] if loss else model(**batch).loss


def diagonal_fisher(
    model: Any, rows: Any, at: list[int], collate: Callable[..., Mapping[str, Any]], loss: Callable[..., Any] | None,
    kind: str | None, on_rows: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Return the diagonal of the empirical Fisher information of the body's parameters, by their names there: the mean
    over rows of the squared gradient of a row's loss.

    The labels are those of the rows, not drawn from the model: both agree only for a model that fits its rows (Kunstner
    et al. 2019, arXiv:1905.12558). A row without a labelled token has no loss and counts as a gradient of 0.

    Args:
        model: in the state in which its loss is taken (eval mode). Its other parameters get no gradients.
        rows: a `TokenRows`. at: positions of the rows. loss: replaces the model's own. kind: see `label_count`.
        on_rows: called with rows done and in total.

    Raises:
        ConfigError: the loss of a row is not finite, or no row has a loss.
    """
    body = dict(body_of(model).named_parameters())
    for each in model.parameters():
        each.requires_grad_(False)
    for each in body.values():
        each.requires_grad_(each.is_floating_point())
    device, found = next(model.parameters()).device, {name: torch.zeros_like(each) for name, each in body.items()}
    counted = 0
    for done, position in enumerate(at, 1):
        batch = {name: each.to(device) for name, each in collate([rows[position]]).items()}
        if label_count(batch, kind):
            value = loss_of(model, batch, loss)
            if not torch.isfinite(value):
                raise ConfigError(
                    f"the loss of its training row {position + 1:,} is {float(value)}; the model is damaged"
                )
            value.backward()
            counted += 1
        for name, each in body.items():
            if each.grad is not None:
                found[name] += each.grad.square()
                each.grad = None
        on_rows(done, len(at))
    if not counted:
        raise ConfigError("none of its training rows has a labelled token")
    return {name: each / len(at) for name, each in found.items()}
