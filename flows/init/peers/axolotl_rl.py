"""axolotl's settings of GRPO: its block `trl` (axolotl.utils.schemas.trl), with the names of TRL's GRPOConfig."""

from collections.abc import Mapping
from math import ceil, prod
from pathlib import Path
from typing import Any

from flows.init.peers.stages import GRPO, PREFERENCES, preference
from flows.init.peers.table import Import, Rule, argument, lost, names, needless, one_of, to, translate_key, unless

GENERATIONS = 8  # TRL's default
UNEVEN = ", which is no multiple: several devices share a step there"
THINK = "think_format_reward"
SAMPLED = "answers are sampled by the trained model itself, without vLLM"
REFERENCE = "the reference stays the model before training"
ON_POLICY = "the answers of a step are sampled before it; rl.num_iterations repeats steps on them"
LOGGED = "answers to held-out rows are in the predictions; those of training are not logged"
ENTROPY = "the loss has no term for the entropy, and learns from all tokens"


def prompts_a_step(found: Import) -> tuple[dict[str, int], str] | None:
    """Return batch size and accumulation here, and what they are there; None if one of them is not a count.

    TRL counts answers, so a step has micro_batch_size times gradient_accumulation_steps of them; here prompts are
    counted, of which each has num_generations answers.
    """
    trl = found.given.get("trl")
    answers = (trl.get("num_generations") if isinstance(trl, Mapping) else None) or GENERATIONS
    size, accumulated = (found.given.get(name, 1) for name in ("micro_batch_size", "gradient_accumulation_steps"))
    if not all(isinstance(each, int) and not isinstance(each, bool) and each > 0
               for each in (answers, size, accumulated)):  # fmt: skip
        return None
    prompts = ceil(size * accumulated / answers)
    ours = next(each for each in range(max(size // answers, 1), 0, -1) if prompts % each == 0)
    why = f"a step there has {size} x {accumulated} answers, {answers} to a prompt"
    if size * accumulated % answers:
        why += UNEVEN
    return {"per_device_train_batch_size": ours, "gradient_accumulation_steps": prompts // ours}, why


def counting_prompts(name: str) -> Rule:
    """Return the rule for a part of the number of rows of a step."""

    def rule(found: Import, key: str, value: Any) -> None:
        counted = prompts_a_step(found) if found.task == GRPO else None
        if counted is None:
            argument(name)(found, key, value)
        else:
            found.put(key, f"train.{name}", counted[0][name], f"prompts; {counted[1]}")

    return rule


def beta(found: Import, key: str, value: Any) -> None:
    """The weight of the divergence, which is in the block or beside it."""
    trl = found.given.get("trl")
    if key == "rl_beta" and isinstance(trl, Mapping) and trl.get("beta") is not None:
        found.needless[key] = "trl.beta is given"
    elif found.task == GRPO:
        to("rl.beta")(found, key, value)
    elif found.task in PREFERENCES:
        preference("beta")(found, key, value)
    else:
        found.needless[key] = f"it has no effect for {found.task}"


def _functions(found: Import, key: str, value: Any) -> None:
    """Functions by `module.function`, or a reward model, with their weights in our order: the model's last."""
    given = [str(each) for each in names(value)]
    models = [name for name in given if "." not in name or "/" in name or Path(name).exists()]
    if len(models) > 1:
        raise found.refusal(key, f"{' and '.join(models)} are reward models, and rl.reward_model is one; keep one")
    functions = [_path(name) for name in given if name not in models]
    if functions:
        found.put(key, "rl.reward_funcs", functions)
    if found.values.get("rl.reward_funcs"):
        found.differs.append(f"{key}: functions get prompts and completions as lists of messages; TRL gives texts if "
                             "prompts are texts. Their modules have to be importable")  # fmt: skip
    if models:
        found.put(key, "rl.reward_model", models[0])
    weights = found.given["trl"].get("reward_weights")
    if isinstance(weights, list) and len(weights) == len(given):
        order = sorted(range(len(given)), key=lambda at: given[at] in models)
        found.put("trl.reward_weights", "rl.reward_weights", [weights[at] for at in order])


def _path(name: str) -> str:
    module, _, function = name.rpartition(".")
    return "think_format" if function == THINK and module.startswith("trl") else f"{module}:{function}"


def _weights(found: Import, key: str, value: Any) -> None:
    if "rl.reward_weights" not in found.values:
        to("rl.reward_weights")(found, key, value)


def _scaling(found: Import, key: str, value: Any) -> None:
    words = {True: "group", False: "none"}
    found.put(key, "rl.scale_rewards", words[value] if isinstance(value, bool) else value)


def _off(path: str, *values: object) -> Rule:
    """Return the rule for a limit of sampling that these values turn off."""
    return unless(to(path), dict.fromkeys(values, "it is off there"))


RULES: Mapping[str, Rule] = {
    "beta": beta,
    "reward_funcs": _functions,
    "reward_weights": _weights,
    "scale_rewards": _scaling,
    "top_k": _off("rl.top_k", 0, -1),
    "top_p": _off("rl.top_p", 1),
    **{name: to(f"rl.{name}") for name in ("num_generations", "max_completion_length", "temperature", "num_iterations",
       "epsilon", "epsilon_high", "loss_type", "mask_truncated_completions", "disable_dropout")},
    "min_p": unless(lost("sampling is limited by rl.top_k and rl.top_p"), {0: "it is off there"}),
    "repetition_penalty": unless(lost("answers are sampled without a penalty"), {1: "it is off there"}),
    "generation_kwargs": lost("sampling is set by rl.temperature, rl.top_k and rl.top_p"),
    "rollout_func": lost("an answer is sampled in one turn, by the model"),
    "importance_sampling_level": one_of(
        "a ratio for each token", {"token": None}, "rl.epsilon limits the ratio of each token"
    ),
    "multi_objective_aggregation": one_of(
        "a weighted sum of rewards", {"sum_then_normalize": None}, "weighted rewards are added, then compared"
    ),
    "delta": lost("ratios are limited by rl.epsilon and rl.epsilon_high"),
    "sync_ref_model": lost(REFERENCE),
    "ref_model_mixup_alpha": needless(REFERENCE),
    "ref_model_sync_steps": needless(REFERENCE),
    "log_completions": lost(LOGGED),
    "num_completions_to_print": needless(LOGGED),
    "steps_per_generation": lost(ON_POLICY),
    "generation_batch_size": lost(ON_POLICY),
    "num_generations_eval": lost("evaluation takes the likeliest answer to each row"),
    "top_entropy_quantile": unless(lost(ENTROPY), {1: "it is off there"}),
    "reward_num_workers": needless("functions are called once a step, with all its answers"),
    "reward_processing_classes": lost("a reward model's own tokenizer and chat template are used"),
    "skip_zero_advantage_batches": needless("it changes speed, not results"),
}  # fmt: skip
PATTERNS: Mapping[str, Rule] = {
    r"(use_)?vllm.*|async_.*|prefetch_.*|use_data_producer|streaming_.*|.*continuous_batching.*|use_transformers_paged":
        lost(SAMPLED),
    r"replay_.*|reroll_.*|off_policy_.*": lost(ON_POLICY),
    r".*entropy.*": lost(ENTROPY),
    r"(sapo|vespo)_.*": needless("it is for another loss_type"),
}  # fmt: skip


def put_block(found: Import, key: str, value: Any) -> None:
    """Translate the block `trl`."""
    if not isinstance(value, Mapping):
        found.lost[key] = "valid: a mapping"
        return
    for name, each in value.items():
        if found.task == GRPO or name == "beta":
            translate_key(found, f"{key}.{name}", each, str(name), RULES, PATTERNS)
        else:
            found.needless[f"{key}.{name}"] = f"it has no effect for {found.task}"


def put_server(found: Import, key: str, value: Any) -> None:
    """The block `vllm`, for the server that samples answers."""
    where = found.lost if found.task == GRPO else found.needless
    where[key] = SAMPLED if found.task == GRPO else "it is for inference"


def defaults(found: Import) -> Mapping[str, object]:
    """Return the defaults of GRPO where ours differ."""
    counted, why = prompts_a_step(found) or ({}, "")
    if UNEVEN in why:
        found.differs.append(f"prompts of a step: {prod(counted.values())}; {why}")
    return {"rl.disable_dropout": False} | {f"train.{name}": each for name, each in counted.items()}
