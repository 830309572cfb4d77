"""What checkpoints need of rollouts."""

from collections.abc import Mapping
from typing import Any

import torch

from tasks.training.hooks import TrainingHook
from tasks.training.rollouts.losses import Stats


class RolloutState(TrainingHook):
    """The answers that the next steps train on too, sums of what is logged, and what an algorithm adds.

    Args:
        iterations: optimizer steps on each rollout. module: weights beside the model's, if there are any.

    Attributes:
        batches: the micro-batches of the rollout. step: the optimizer step that trains on them.
        sums: by name, of what was observed since the last log: a sum and what to divide it by.
        numbers: that change during training.
    """

    def __init__(self, iterations: int, module: torch.nn.Module | None = None) -> None:
        self.iterations, self.module = iterations, module
        self.batches: list[dict[str, torch.Tensor]] = []
        self.step = 0
        self.sums: dict[str, list[float]] = {}
        self.numbers: dict[str, float] = {}

    def add(self, stats: Stats) -> None:
        """Add sums of what was observed."""
        for name, pair in stats.items():
            known = self.sums.setdefault(name, [0.0, 0.0])
            known[0], known[1] = known[0] + pair[0], known[1] + pair[1]

    def means(self) -> dict[str, float]:
        """Return the means since the last call."""
        found = {name: total / count for name, (total, count) in self.sums.items() if count}
        self.sums = {}
        return found

    def state_dict(self) -> Mapping[str, Any]:
        open_rollout = (self.step + 1) % self.iterations != 0
        return {
            "batches": self.batches if open_rollout else [], "sums": self.sums, "numbers": self.numbers,
            "module": dict(self.module.state_dict()) if self.module is not None else {},
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches, self.sums, self.numbers = state["batches"], state["sums"], state["numbers"]
        if self.module is not None:
            self.module.load_state_dict(state["module"])
