"""Proximal policy optimization (arXiv:1707.06347) on rewards of a model's own answers, held near the model before
training (arXiv:1909.08593)."""

from tasks.objectives.base import Objective
from tasks.objectives.rewards import PARTS, SAMPLING, USUAL

PPO = Objective(
    name="ppo",
    aliases=("proximal-policy-optimization", "rlhf"),
    trainer="tasks.training.rollouts.ppo:PpoTrainer",
    loss="tasks.training.rollouts.losses:ppo_loss",
    rl_options=(*SAMPLING, "kl_coef", "kl_target", "kl_horizon", "cliprange_value", "vf_coef", "gamma", "lam",
                "value_learning_rate", "missing_eos_penalty"),
    # Clip ranges, discount and lambda of TRL's PPOConfig (until 1.10), the KL coefficient of Ziegler et al. (2019).
    defaults={
        **USUAL,
        "train.per_device_train_batch_size": 16,
        "rl.num_generations": 1,
        "rl.num_iterations": 4,
        "rl.kl_coef": 0.2,
        "rl.kl_horizon": 10_000,
        "rl.cliprange_value": 0.2,
        "rl.vf_coef": 0.1,
        "rl.gamma": 1.0,
        "rl.lam": 0.95,
        "rl.value_learning_rate": 1e-4,
    },
    **PARTS,
)  # fmt: skip
