"""Successive halving: when cells are compared, which continue, and how well early ranking predicts.

Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization". Every cell
keeps the learning-rate schedule of the full training, so a survivor equals the same run without halving.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tasks.config.sections.sweep import Halving

MOST_RUNGS = 3
LEAST_RANKED = 3  # groups: with two, the correlation is only ±1


def shares(groups: int, halving: Halving) -> list[float]:
    """Return the shares of the training after which cells are compared, ascending; the last is 1, the full training."""
    if halving.factor is None or groups < 2:
        return [1.0]
    factor = halving.factor
    rungs = max(1, min(MOST_RUNGS, math.floor(math.log(groups, factor) + 1e-9)))
    share = halving.first or factor**-rungs
    found = []
    while share < 1 - 1e-9:
        found.append(share)
        share *= factor
    return [*found, 1.0]


def schedule(groups: int, halving: Halving) -> list[tuple[float, int]]:
    """Return (share, number of groups trained up to it), if none fails."""
    found = []
    for share in shares(groups, halving):
        found.append((share, groups))
        groups = _kept(groups, halving.factor or 2)
    return found


def _kept(groups: int, factor: int) -> int:
    return max(1, math.ceil(groups / factor))


def survivors(
    scores: Mapping[int, float | None],
    factor: int,
    greater_is_better: bool,
    losses: Mapping[int, float | None] | None = None,
) -> list[int]:
    """Return the groups that continue: the best 1/factor of all, rounded up, at least one; only ones with a score.

    Args:
        scores: the metric of each group at this rung; None if it failed.
        losses: to break ties (early accuracies are often at chance level); remaining ties keep the first.
    """
    up = -1 if greater_is_better else 1

    def order(group: int) -> tuple[float, float, int]:
        score, loss = scores[group], (losses or {}).get(group)
        return up * (score or 0.0), math.inf if loss is None else loss, group

    alive = sorted((group for group, score in scores.items() if score is not None), key=order)
    return sorted(alive[: _kept(len(scores), factor)])


def scored_at_both(early: Mapping[int, float | None], late: Mapping[int, float | None]) -> list[int]:
    """Return the groups with a score at both of two rungs."""
    return [g for g in late if late[g] is not None and early.get(g) is not None]


def agreement(early: Mapping[int, float | None], late: Mapping[int, float | None]) -> float | None:
    """Return Spearman's rank correlation of two rungs over groups scored at both; None below three, or if all are
    equal."""
    both = scored_at_both(early, late)
    if len(both) < LEAST_RANKED:
        return None
    found = _correlation(_ranks([early[g] for g in both]), _ranks([late[g] for g in both]))  # type: ignore[misc]
    return round(found, 4) if found is not None else None


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks; equal values get their mean rank."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def _correlation(one: Sequence[float], two: Sequence[float]) -> float | None:
    mean = (len(one) - 1) / 2
    spread = math.sqrt(sum((a - mean) ** 2 for a in one) * sum((b - mean) ** 2 for b in two))
    return sum((a - mean) * (b - mean) for a, b in zip(one, two, strict=True)) / spread if spread else None
