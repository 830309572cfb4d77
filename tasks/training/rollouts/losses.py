"""Losses of policies, over the answer tokens of a micro-batch.

A micro-batch has `input_ids`, `attention_mask` and `completion_mask` (see `tasks.models.rollout.joined`) and, in their
shape, `weights`: the factor of each token's loss. They contain the step's means, so that 4 x 4 rows equal 1 x 16.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from tasks.models.rollout import token_terms

Batch: TypeAlias = Mapping[str, torch.Tensor]
Stats: TypeAlias = dict[str, tuple[float, float]]
"""By name a sum and what to divide it by."""


def grpo_loss(
    model: Any, batch: Batch, *, temperature: float, beta: float, epsilon: float, epsilon_high: float | None,
    **_: object,
) -> tuple[torch.Tensor, Stats]:  # fmt: skip
    """Return the loss of group relative policy optimization (arXiv:2402.03300, equation 3), with the clip range of DAPO
    (arXiv:2503.14476).

    Args:
        batch: also with `advantages`, for steps after the rollout's first with `old_log_probs`, and with `beta` with
            `reference_log_probs`.
    """
    found = token_terms(model, batch, temperature)
    old = batch.get("old_log_probs", found.log_probs.detach())
    surrogate, clipped = clipped_surrogate(found.log_probs - old, batch["advantages"], epsilon, epsilon_high)
    stats = _stats(batch, entropy=found.entropy, clip_fraction=clipped)
    loss = -surrogate
    if beta:
        distance = batch["reference_log_probs"] - found.log_probs
        # Weighted by the ratio, without which its gradient would not be that of the divergence (arXiv:2512.02556).
        divergence = (distance.exp() - distance - 1) * (found.log_probs - old).exp()
        loss = loss + beta * divergence
        stats |= _stats(batch, kl=divergence.detach())
    return (loss * batch["weights"]).sum(), stats


def ppo_loss(
    model: Any, batch: Batch, *, value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], temperature: float,
    epsilon: float, cliprange_value: float, vf_coef: float, **_: object,
) -> tuple[torch.Tensor, Stats]:  # fmt: skip
    """Return the loss of proximal policy optimization (arXiv:1707.06347): clipped policy and value losses.

    Args:
        batch: also with `advantages`, `returns`, `old_log_probs` and `old_values`.
        value: the value head, from the hidden states of the answer tokens and their mask to a value for each token.
    """
    found = token_terms(model, batch, temperature)
    surrogate, clipped = clipped_surrogate(found.log_probs - batch["old_log_probs"], batch["advantages"], epsilon, None)
    values = value(found.hidden, batch["completion_mask"])
    near = batch["old_values"] + (values - batch["old_values"]).clamp(-cliprange_value, cliprange_value)
    errors = torch.maximum((values - batch["returns"]) ** 2, (near - batch["returns"]) ** 2) / 2
    stats = _stats(batch, entropy=found.entropy, clip_fraction=clipped, value_loss=errors.detach())
    return ((vf_coef * errors - surrogate) * batch["weights"]).sum(), stats


def clipped_surrogate(
    log_ratio: torch.Tensor, advantages: torch.Tensor, low: float, high: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clipped surrogate of each token, and 1 for those whose gradient is clipped away.

    Args:
        log_ratio: of the probabilities of the policy and of the one that sampled. low, high: the clip range.
    """
    ratio = log_ratio.exp()
    plain = ratio * advantages
    bounded = ratio.clamp(1 - low, 1 + (low if high is None else high)) * advantages
    return torch.minimum(plain, bounded), (bounded < plain).float()


def _stats(batch: Batch, **values: torch.Tensor) -> Stats:
    mask = batch["completion_mask"]
    tokens = float(mask.sum())
    return {name: (float((each * mask).sum()), tokens) for name, each in values.items()}
