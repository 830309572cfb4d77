"""Our task for what a tool calls a stage: one row each. A task may be missing here that another version has."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.init.peers.table import Import, Rule, to
from tasks.objectives import objectives


@dataclass(frozen=True)
class Stage:
    """A task, and what else has to be set for the stage, by dotted name."""

    task: str
    values: Mapping[str, object] = field(default_factory=dict)


SFT, TEXTS = "sft", "language-generation"
DPO, KTO, REWARD = "dpo", "kto", "reward"
PREFERENCES = (DPO, KTO, REWARD)
GRPO, PPO = "grpo", "ppo"
REWARDED = (GRPO, PPO)
ANSWERING = (SFT, *REWARDED)  # tasks whose rows are conversations

# axolotl's `rl`, and its switch `reward_model`
AXOLOTL: Mapping[str, Stage] = {
    "dpo": Stage(DPO),
    "ipo": Stage(DPO, {"preference.loss_type": "ipo"}),
    "orpo": Stage(DPO, {"preference.loss_type": "orpo"}),
    "simpo": Stage(DPO, {"preference.loss_type": "simpo"}),
    "kto": Stage(KTO),
    "grpo": Stage(GRPO),
    "reward_model": Stage(REWARD),
}
# LLaMA-Factory's `stage`
LLAMA_FACTORY: Mapping[str, Stage] = {
    "sft": Stage(SFT),
    "pt": Stage(TEXTS),
    "rm": Stage(REWARD),
    "dpo": Stage(DPO),
    "kto": Stage(KTO),
    "ppo": Stage(PPO),
}


def set_stage(found: Import, key: str, name: object, stages: Mapping[str, Stage]) -> None:
    """Set the task of a stage.

    Raises:
        ConfigError: there is no such task; the message lists those that there are.
    """
    stage = stages.get(str(name))
    if stage is None or stage.task not in objectives():
        why = f"the task {stage.task!r} of {key}: {name} is not supported" if stage else f"{name!r} is not supported"
        raise found.refusal(key, f"{why}; tasks are {', '.join(sorted(objectives()))}")
    found.task = stage.task
    found.put(key, "task", stage.task)
    for path, value in stage.values.items():
        found.put(key, path, value)


def preference(name: str) -> Rule:
    """Return the rule for an option of preference tasks, which others do not read."""
    rule = to(f"preference.{name}")

    def checked(found: Import, key: str, value: object) -> None:
        if found.task in PREFERENCES:
            rule(found, key, value)
        else:
            found.needless[key] = f"it has no effect for {found.task}"

    return checked
