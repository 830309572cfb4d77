"""LLaMA-Factory's settings of PPO, which is that of TRL 0.9 (llamafactory.train.ppo), and of its sampled answers."""

from collections.abc import Mapping
from typing import Any

from flows.init.peers.shared import if_generated
from flows.init.peers.stages import PPO
from flows.init.peers.table import Import, Rule, argument, lost, names, needless, one_of, to, unless

EPOCHS = 4  # of ppo_epochs
HEAD = (
    "a reward model of LLaMA-Factory has its head in value_head.safetensors, which is not read here; train one with "
    "the config of its stage rm, translated too"
)


def check_rewards(found: Import) -> None:
    """Refuse rewards that a server gives, unless the command line says what gives them.

    Raises:
        ConfigError: a server gives them.
    """
    if found.task == PPO and found.given.get("reward_model_type") == "api" and not found.is_fixed("rl"):
        raise found.refusal("reward_model_type", "api: rewards are not asked of a server; write a function that does, "
                            "and add rl.reward_funcs=[package.module:function] to the command")  # fmt: skip


def ppo_only(rule: Rule, other: Rule | None = None) -> Rule:
    """Return the rule for a setting of PPO, which other stages do not read, or by another rule."""

    def checked(found: Import, key: str, value: Any) -> None:
        if found.task == PPO:
            rule(found, key, value)
        elif other is not None:
            other(found, key, value)
        else:
            needless(f"it has no effect for {found.task}")(found, key, value)

    return checked


def _reward_model(found: Import, key: str, value: Any) -> None:
    """The folder of the reward model; of an adapter, that names its base."""
    kind = found.given.get("reward_model_type") or "lora"
    adapters = names(found.given.get("reward_model_adapters") or []) if kind == "full" else []
    if kind == "api":
        found.needless[key] = "rl.reward_funcs gives the rewards"
        return
    if len(adapters) > 1:
        raise found.refusal("reward_model_adapters", "a reward model has one adapter here; merge the others into it "
                            "before: finetune export ADAPTER -o FOLDER --merge")  # fmt: skip
    if adapters:
        found.put("reward_model_adapters", "rl.reward_model", adapters[0])
        found.needless[key] = "its adapter names it"
    else:
        found.put(key, "rl.reward_model", value)
    if not found.is_fixed("rl.reward_model"):
        found.differs.append(f"{key}: {HEAD}")


def _reward_adapters(found: Import, key: str, value: Any) -> None:
    if found.given.get("reward_model_type", "lora") != "full":
        found.needless[key] = "it is for reward_model_type: full"
    elif "reward_model" not in found.given:
        found.lost[key] = "it is for a reward_model, which is missing"


def _updates(name: str) -> Rule:
    """Return the rule for a number of steps: there a step is ppo_epochs updates, here it is one."""

    def rule(found: Import, key: str, value: Any) -> None:
        epochs = found.given.get("ppo_epochs", EPOCHS)
        if isinstance(value, bool) or not isinstance(value, int) or not isinstance(epochs, int) or value < 1:
            argument(name)(found, key, value)
        else:
            found.put(key, f"train.{name}", value * epochs, f"{value} steps of {epochs} updates there (ppo_epochs)")

    return ppo_only(rule, argument(name))


def _temperature(found: Import, key: str, value: Any) -> None:
    found.put(key, "rl.temperature", value, "the loss has the probabilities at it; there at 1")


def _reference(found: Import, key: str, value: Any) -> None:
    if value == found.given.get("model_name_or_path"):
        found.needless[key] = "the reference is the model before training"
    else:
        found.lost[key] = "the reference is the model before training"


def defaults(found: Import) -> dict[str, object]:
    """Return the defaults of PPO where ours differ."""
    usual = {"temperature": 0.95, "top_k": 50, "top_p": 0.7}
    rate = found.given.get("learning_rate") or 5e-5
    return {
        **{f"rl.{name}": value for name, value in usual.items() if found.given.get(name) is None},
        "rl.max_completion_length": 1024,
        "rl.kl_target": 6.0,
        "rl.value_learning_rate": rate,
        "rl.disable_dropout": False,
        "data.overlong": "truncate",
    }


INFERENCE = needless("it is for inference")
SCORES = "advantages are whitened, rewards are used as they are"
RULES: Mapping[str, Rule] = {
    "reward_model": ppo_only(_reward_model),
    "reward_model_type": ppo_only(
        one_of("the kind of model in the folder", {"lora": None, "oft": None, "full": None, "api": None},
               "the folder of a reward model says what it is")
    ),
    "reward_model_adapters": ppo_only(_reward_adapters),
    "reward_model_quantization_bit": ppo_only(lost("the reward model's weights are loaded in float32")),
    "ppo_epochs": ppo_only(to("rl.num_iterations")),
    "ppo_buffer_size": ppo_only(unless(lost("answers are sampled to the prompts of one step at a time"),
                                       {1: "a step samples its own answers"})),
    "ppo_score_norm": ppo_only(lost(SCORES)),
    "ppo_whiten_rewards": ppo_only(lost(SCORES)),
    "ppo_target": ppo_only(to("rl.kl_target")),
    **{name: _updates(name) for name in ("max_steps", "save_steps", "logging_steps", "warmup_steps")},
    "ref_model": _reference,
    "ref_model_adapters": lost("the reference is the model before training"),
    "ref_model_quantization_bit": lost("the reference has the weights of the model before training"),
    "max_new_tokens": ppo_only(to("rl.max_completion_length"), if_generated(to("train.generation_max_length"))),
    "max_length": needless("max_new_tokens is the limit"),
    "num_beams": ppo_only(unless(lost("answers are sampled, without beams"), {1: "answers are sampled"}),
                          if_generated(to("train.generation_num_beams"))),
    "temperature": ppo_only(_temperature, INFERENCE),
    "top_k": ppo_only(unless(to("rl.top_k"), {0: "it is off there"}), INFERENCE),
    "top_p": ppo_only(to("rl.top_p"), INFERENCE),
    "do_sample": ppo_only(one_of("sampling", {True: None}, "answers are always sampled"), INFERENCE),
    "repetition_penalty": ppo_only(unless(lost("answers are sampled without a penalty"), {1: "it is off there"}),
                                   INFERENCE),
    "length_penalty": INFERENCE,
}  # fmt: skip
