"""Proximal policy optimization, with a value head on the policy."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tasks.models.rollout import placed, token_terms
from tasks.training.rollouts.advantages import generalized_advantages, token_weights, whitened
from tasks.training.rollouts.trainer import Answers, RolloutTrainer


class ValueHead(torch.nn.Module):
    """Expects the rewards that follow, from the hidden state before a token. It starts at 0.

    Args:
        width: of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the value before each marked token, float32 in the shape of `mask`, 0 elsewhere.

        Args:
            hidden: of the marked tokens, shape (tokens, width).
        """
        return placed((hidden.float() * self.weight).sum(-1) + self.bias, mask.bool())


class PpoTrainer(RolloutTrainer):
    """Rewards each token with its negative divergence from the model before training, and the last one with the
    answer's reward too (arXiv:1909.08593); advantages are generalized advantage estimates, whitened over the step."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        model: Any = self.model
        self.value_head = ValueHead(model.config.get_text_config().hidden_size).to(model.device)
        self.own_loss = partial(self.own_loss, value=self.value_head)  # type: ignore[arg-type]
        self.rollout.module = self.value_head
        self.rollout.numbers["kl_coef"] = self.options["kl_coef"]

    def needs_reference(self) -> bool:
        """Whether rewards have a KL divergence."""
        return self.options["kl_coef"] > 0

    def assess(self, answers: Answers) -> None:
        given, coefficient = self.options, self.rollout.numbers["kl_coef"]
        rewards = answers.rewards - (given["missing_eos_penalty"] or 0) * (~answers.ended).float()
        divergences: list[torch.Tensor] = []
        for batch, scores in zip(answers.batches, rewards.split(list(answers.sizes)), strict=True):
            mask = batch["completion_mask"]
            found = token_terms(self.model, batch, self.sampling.temperature)
            batch["old_log_probs"], batch["old_values"] = found.log_probs, self.value_head(found.hidden, mask)
            divergence = found.log_probs - batch.pop("reference_log_probs", found.log_probs)
            divergences.append(divergence.sum(1))
            last = mask.cumsum(1) == mask.sum(1, keepdim=True)
            per_token = scores[:, None] * (last & mask.bool()) - coefficient * divergence
            batch["advantages"], batch["returns"] = generalized_advantages(
                per_token, batch["old_values"], mask, given["gamma"], given["lam"]
            )
        _whiten(answers.batches)
        weights = token_weights([batch["completion_mask"].float() for batch in answers.batches], "dapo", 0)
        for batch, weight in zip(answers.batches, weights, strict=True):
            batch["weights"] = weight
        self._adapt(torch.cat(divergences))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the library's optimizer, with a group for the value head."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made:
            group = {"params": [*self.value_head.parameters()], "lr": self.options["value_learning_rate"]}
            optimizer.add_param_group({**group, "weight_decay": 0.0})
        return optimizer

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        self.value_head.zero_grad()  # the library does it for the model only
        return super().get_batch_samples(*arguments, **named)

    def extra_weights(self) -> Mapping[str, Mapping[str, torch.Tensor]]:
        return {"value_head": self.value_head.state_dict()}

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._load_hooks(Path(self.state.best_model_checkpoint or ""))

    def _clip_grad_norm(self, model: Any) -> Any:
        found = super()._clip_grad_norm(model)
        torch.nn.utils.clip_grad_norm_(self.value_head.parameters(), self.args.max_grad_norm)
        return found

    def _get_learning_rate(self) -> float:
        optimizer: Any = self.optimizer
        return max(float(group["lr"]) for group in optimizer.param_groups[:-1])

    def _adapt(self, divergences: torch.Tensor) -> None:
        """Log the divergence of answers and, with a target, adapt the coefficient (arXiv:1909.08593, section 2.2).

        Args:
            divergences: of each answer from the model before training, in nats.
        """
        given, numbers = self.options, self.rollout.numbers
        mean = float(divergences.mean())
        self.rollout.add({"kl": (mean * len(divergences), float(len(divergences))),
                          "kl_coef": (numbers["kl_coef"], 1.0)})  # fmt: skip
        if given["kl_target"] is not None:
            error = min(max(mean / given["kl_target"] - 1, -0.2), 0.2)
            numbers["kl_coef"] *= 1 + error * len(divergences) / given["kl_horizon"]


def _whiten(batches: list[dict[str, torch.Tensor]]) -> None:
    """Whiten the advantages of all micro-batches of a step together."""
    widths = [batch["advantages"].numel() for batch in batches]
    both = (torch.cat([batch[name].flatten() for batch in batches]) for name in ("advantages", "completion_mask"))
    for batch, values in zip(batches, whitened(*both).split(widths), strict=True):
        batch["advantages"] = values.view_as(batch["completion_mask"])
