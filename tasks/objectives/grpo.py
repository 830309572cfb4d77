"""Group relative policy optimization (arXiv:2402.03300): a model answers each prompt several times, and learns which of
its answers are rewarded most."""

from tasks.objectives.base import Objective
from tasks.objectives.rewards import PARTS, SAMPLING, USUAL

GRPO = Objective(
    name="grpo",
    aliases=("group-relative-policy-optimization",),
    trainer="tasks.training.rollouts.grpo:GrpoTrainer",
    loss="tasks.training.rollouts.losses:grpo_loss",
    rl_options=(*SAMPLING, "beta", "epsilon_high", "loss_type", "scale_rewards", "mask_truncated_completions"),
    # TRL's GRPOConfig: 8 answers, no KL divergence, the loss of DAPO.
    defaults={
        **USUAL,
        "rl.num_generations": 8,
        "rl.num_iterations": 1,
        "rl.beta": 0.0,
        "rl.loss_type": "dapo",
        "rl.scale_rewards": "group",
        "rl.mask_truncated_completions": False,
    },
    **PARTS,
)
