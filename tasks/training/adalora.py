"""AdaLoRA's rank allocation, which peft leaves to the training loop (Zhang et al. 2023, arXiv:2303.10512)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import AdaLoraConfig, PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState

from tasks.training.hooks import TrainingHook


def adapter_hooks(model: Any, plan: Mapping[str, Any]) -> list[TrainingHook]:
    """Return the hooks that a model's adapter needs while it is trained."""
    found = isinstance(model, PeftModel) and isinstance(model.active_peft_config, AdaLoraConfig)
    return [RankAllocation({}, model, plan)] if found else []


class RankAllocation(TrainingHook):
    """Lowers the total rank from peft.init_r to peft.target_r per layer, between step peft.tinit and peft.tfinal steps
    before the end: the least important singular values are set to zero after each optimizer step. A penalty keeps
    singular vectors orthogonal.

    Unlike peft's own loop it leaves pruned triplets in place, as zeros, so that a checkpoint has the same shapes at
    each step; outputs are the same.
    """

    def __init__(self, options: Mapping[str, Any], model: Any, plan: Mapping[str, Any]) -> None:
        super().__init__(options, model, plan)
        self.config = model.active_peft_config
        self.allocator: Any = model.base_model.rankallocator
        self.final: dict[str, list[bool]] = {}  # which singular values are kept in the last `tfinal` steps
        self.allocator.set_total_step(plan["steps"]["total"])

    def penalty(self) -> torch.Tensor:
        """Return peft.orth_reg_weight times the mean distance of A A^T and B^T B from the identity (equation 4)."""
        distances = []
        for name, weights in self.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                product = weights @ weights.T if ".lora_A." in name else weights.T @ weights
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        return self.config.orth_reg_weight * sum(distances) / len(distances)

    def callbacks(self) -> Sequence[TrainerCallback]:
        return [_AfterStep(self)]

    def after_step(self, step: int) -> None:
        """Update importances from the gradients, and set the least important singular values to zero.

        Args:
            step: optimizer steps done before this one.
        """
        last = self.plan["steps"]["total"] - self.config.tfinal
        if step > last:
            if self.final:
                self.allocator.mask_using_rank_pattern(self.model, self.final)
            return
        if step < last:
            self.allocator.update_ipt(self.model)
        budget, due = self.allocator.budget_schedule(step)
        if (due or step == last) and budget < self.allocator.init_bgt:
            self.final = self.allocator.mask_to_budget(self.model, budget)

    def state_dict(self) -> Mapping[str, Any]:
        return {
            "sensitivity": dict(self.allocator.exp_avg_ipt),
            "uncertainty": dict(self.allocator.exp_avg_unc),
            "final": self.final,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.allocator.exp_avg_ipt = dict(state["sensitivity"])
        self.allocator.exp_avg_unc = dict(state["uncertainty"])
        self.allocator.ipt = dict(state["sensitivity"])  # replaced before it is read; its names say what is known
        self.final = state["final"]


class _AfterStep(TrainerCallback):
    def __init__(self, hook: RankAllocation) -> None:
        self.hook = hook

    def on_optimizer_step(self, args: object, state: TrainerState, control: TrainerControl, **named: Any) -> None:
        self.hook.after_step(state.global_step)
