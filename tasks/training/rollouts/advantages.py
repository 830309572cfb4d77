"""Advantages: how much better an answer, or a token, was than expected."""

from collections.abc import Sequence

import torch


def group_advantages(rewards: torch.Tensor, generations: int, scale: str) -> torch.Tensor:
    """Return each answer's reward compared with those of the same prompt (arXiv:2402.03300), shape (answers,).

    Args:
        rewards: answers to a prompt are adjacent. generations: answers to each prompt.
        scale: divide by the standard deviation of the `group` or `batch`; `none`: do not (Dr. GRPO, arXiv:2503.20783).
    """
    groups = rewards.view(-1, generations)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if scale == "none":
        return centred.flatten()
    spread = groups.std(dim=1, keepdim=True) if scale == "group" else rewards.std()
    return (centred / (spread + 1e-4)).flatten()


def token_weights(masks: Sequence[torch.Tensor], loss_type: str, longest: int) -> list[torch.Tensor]:
    """Return the weight of each answer token in a step's loss: a mean over tokens (`dapo`), over answers of the mean
    over their tokens (`grpo`), or over answers of the sum divided by `longest` (`dr_grpo`).

    Args:
        masks: of each micro-batch, shape (answers, tokens), 1 for tokens that are trained.
        longest: `rl.max_completion_length`.
    """
    answers, tokens = sum(len(mask) for mask in masks), sum(float(mask.sum()) for mask in masks)
    if loss_type == "dapo":
        return [mask / max(tokens, 1) for mask in masks]
    lengths = [mask.sum(1, keepdim=True).clamp(min=1) if loss_type == "grpo" else longest for mask in masks]
    return [mask / length / answers for mask, length in zip(masks, lengths, strict=True)]


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the advantages of generalized advantage estimation (arXiv:1506.02438), and the returns that values learn.

    Args:
        rewards, values: of each token, shape (rows, tokens). mask: 1 for answer tokens, which are adjacent.
    """
    advantages, following = torch.zeros_like(values), torch.zeros(len(values), device=values.device)
    value_after = torch.zeros_like(following)
    for at in reversed(range(values.shape[1])):
        inside = mask[:, at].float()
        error = rewards[:, at] + gamma * value_after - values[:, at]
        following = (error + gamma * lam * following) * inside
        advantages[:, at] = following
        value_after = values[:, at] * inside
    return advantages, advantages + values * mask


def whitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the marked values with mean 0 and variance 1, and 0 elsewhere."""
    chosen = values[mask.bool()]
    spread = chosen.var(unbiased=False) if len(chosen) > 1 else chosen.new_zeros(())
    return (values - chosen.mean()) * torch.rsqrt(spread + 1e-8) * mask
