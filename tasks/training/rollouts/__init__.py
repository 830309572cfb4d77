"""Training on rewards of the model's own answers (GRPO, PPO): answers are sampled before a step, rewarded, and trained
on for one or several steps. May import what `tasks.training` may."""
