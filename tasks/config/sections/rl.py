"""`rl`: how a model learns from rewards of its own answers, with the names of TRL's configs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tasks.config.sections.section import Section, Text

NAMED = ("final_answer", "think_format")
"""Reward functions that have a name."""
MODEL = "reward_model"
RlLossType = Literal["dapo", "grpo", "dr_grpo"]
Functions = Annotated[list[Text], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class RlConfig(Section):
    """Reinforcement learning from rewards of sampled answers: the tasks grpo and ppo."""

    reward_funcs: Functions | None = Field(
        default=None,
        description="Functions that reward answers, as TRL calls them: final_answer, think_format, or paths of yours, "
        "package.module:function(prompts, completions, **columns) -> numbers. Omit: only reward_model.",
    )
    reward_model: Text | None = Field(
        default=None, min_length=1,
        description="A trained reward model (task: reward): its folder, or a model of the hub. Omit: in a chain, that "
        "of the reward step before; else none.",
    )  # fmt: skip
    reward_weights: list[float] | None = Field(
        default=None, description="A weight for each of reward_funcs, then of reward_model. Omit: 1 each."
    )
    num_generations: int | None = Field(
        default=None, ge=1, description="Answers sampled to each prompt; grpo compares them with each other."
    )
    max_completion_length: int | None = Field(default=None, ge=1, description="Tokens of an answer at most.")
    temperature: float | None = Field(default=None, gt=0, description="Of sampling; 1 samples from the model as it is.")
    top_k: int | None = Field(default=None, ge=1, description="Sample from the k likeliest tokens. Omit: from all.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Sample from the likeliest tokens of this total probability. Omit: all."
    )
    num_iterations: int | None = Field(
        default=None, ge=1, description="Optimizer steps on each batch of answers (PPO's epochs)."
    )
    beta: float | None = Field(
        default=None, ge=0, description="Weight of the KL divergence from the model before training in grpo's loss."
    )
    epsilon: float | None = Field(
        default=None, gt=0, description="How far the ratio to the sampling policy may be from 1 (TRL's cliprange)."
    )
    epsilon_high: float | None = Field(
        default=None, gt=0, description="The same upwards, for grpo (DAPO's clip-higher). Omit: epsilon."
    )
    loss_type: RlLossType | None = Field(
        default=None,
        description="How tokens are weighted: dapo (all of a step alike), grpo (each answer alike), dr_grpo (by "
        "max_completion_length, without a bias to long answers).",
    )
    scale_rewards: Literal["group", "batch", "none"] | None = Field(
        default=None, description="Divide advantages by the standard deviation of the rewards of a prompt or step."
    )
    mask_truncated_completions: bool | None = Field(
        default=None, description="Do not learn from answers that max_completion_length cut off."
    )
    kl_coef: float | None = Field(
        default=None, ge=0, description="Weight of the KL divergence from the model before training in ppo's rewards."
    )
    kl_target: float | None = Field(
        default=None, gt=0,
        description="Adapt kl_coef so that the divergence of an answer (nats) approaches this. Omit: kl_coef is fixed.",
    )  # fmt: skip
    kl_horizon: int | None = Field(default=None, ge=1, description="Answers over which kl_coef adapts.")
    cliprange_value: float | None = Field(
        default=None, gt=0, description="How far a value may move from that of the rollout, for ppo."
    )
    vf_coef: float | None = Field(default=None, ge=0, description="Weight of the value loss, for ppo.")
    gamma: float | None = Field(default=None, gt=0, le=1, description="Discount of later rewards, for ppo.")
    lam: float | None = Field(
        default=None, ge=0, le=1, description="Lambda of generalized advantage estimation, for ppo."
    )
    value_learning_rate: float | None = Field(
        default=None, gt=0, description="Learning rate of the value head, which starts at zero, for ppo."
    )
    missing_eos_penalty: float | None = Field(
        default=None, ge=0,
        description="Subtracted from the reward of answers that max_completion_length cut off, for ppo. Omit: 0.",
    )  # fmt: skip
    win_rate: bool | None = Field(
        default=None,
        description="Compare the answers to held-out rows with those before training: the metric win_rate.",
    )
    disable_dropout: bool | None = Field(
        default=None, description="Train without dropout, an adapter's included, as the answers are sampled."
    )
