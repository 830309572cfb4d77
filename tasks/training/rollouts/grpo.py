"""Group relative policy optimization."""

from tasks.models.rollout import token_terms
from tasks.training.rollouts.advantages import group_advantages, token_weights
from tasks.training.rollouts.trainer import Answers, RolloutTrainer


class GrpoTrainer(RolloutTrainer):
    """Compares the answers to a prompt with each other (arXiv:2402.03300)."""

    def needs_reference(self) -> bool:
        """Whether the loss has a KL divergence."""
        return self.options["beta"] > 0

    def assess(self, answers: Answers) -> None:
        given = self.options
        advantages = group_advantages(answers.rewards, self.generations, given["scale_rewards"])
        masks = [batch["completion_mask"].float() for batch in answers.batches]
        if given["mask_truncated_completions"]:
            whole = answers.ended.float().split(list(answers.sizes))
            masks = [mask * each[:, None] for mask, each in zip(masks, whole, strict=True)]
        weights = token_weights(masks, given["loss_type"], given["max_completion_length"])
        parts = zip(answers.batches, advantages.split(list(answers.sizes)), weights, strict=True)
        for batch, advantage, weight in parts:
            batch["advantages"], batch["weights"] = advantage[:, None].clone(), weight
            if self.iterations > 1:
                batch["old_log_probs"] = token_terms(self.model, batch, self.sampling.temperature).log_probs
