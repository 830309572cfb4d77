"""How axolotl's keys become ours, where that takes more than a name."""

from collections.abc import Mapping
from typing import Any

from flows.init.peers.axolotl_data import tasks_of
from flows.init.peers.stages import AXOLOTL, SFT, TEXTS, set_stage
from flows.init.peers.table import Import, Rule, argument, one_of


def prepare(found: Import) -> None:
    """Set the task and the adapter, which other rules depend on.

    Raises:
        ConfigError: a task or an adapter that is not supported, or rows of several tasks.
    """
    given = found.given
    if given.get("process_reward_model"):
        raise found.refusal("process_reward_model", "there is no task that rewards steps")
    key = next((key for key in ("rl", "reward_model") if given.get(key)), None)
    if key:
        if not found.task:
            set_stage(found, key, "reward_model" if key == "reward_model" else given[key], AXOLOTL)
    elif not found.task:
        datasets = given.get("datasets") or []
        tasks = tasks_of(datasets if isinstance(datasets, list) else [datasets]) or {SFT}
        tasks = {TEXTS} if given.get("pretraining_dataset") else tasks
        if len(tasks) > 1:
            raise found.refusal("datasets", "some entries are texts to continue (type: completion), and others "
                                "conversations; one run has one task; make a config for each")  # fmt: skip
        found.task = tasks.pop()
        found.put("pretraining_dataset" if given.get("pretraining_dataset") else "datasets", "task", found.task)
    _set_adapter(found)


def _set_adapter(found: Import) -> None:
    """Set the method of peft, the precision of the base and its type."""
    kind = found.given.get("adapter")
    if kind not in (None, "", "lora", "qlora"):
        raise found.refusal("adapter", f"{kind!r} given; translated are lora and qlora; for another method of peft "
                            "remove it here, and set peft.method in what is written")  # fmt: skip
    if kind == "qlora" and found.given.get("load_in_4bit") is False and not found.given.get("load_in_8bit"):
        raise found.refusal("load_in_4bit", "false given, and qlora trains on quantized weights; use adapter: lora")
    if found.given.get("lora_model_dir"):
        found.put("lora_model_dir", "peft.method", "continue", "the adapter is trained on")
        if kind:
            found.needless["adapter"] = "the adapter in lora_model_dir is trained on"
    elif kind:
        found.put("adapter", "peft.method", "lora")
        if kind == "qlora" and not found.given.get("load_in_8bit"):
            found.put("adapter", "quant.load_in_4bit", True)
        quantized = kind == "qlora" or found.given.get("load_in_4bit") or found.given.get("load_in_8bit")
        if found.given.get("bf16") in (True, "full") and not quantized:
            found.put("bf16", "model.dtype", "bfloat16", "also the type of the frozen weights")


def base(found: Import, key: str, value: Any) -> None:
    """The base, unless an adapter names it."""
    adapter = found.given.get("lora_model_dir")
    if adapter:
        found.put("lora_model_dir", "model.name", adapter)
        found.needless[key] = "lora_model_dir names its base"
    else:
        found.put(key, "model.name", value)


def same_as_base(found: Import, key: str, value: Any) -> None:
    """What is the base's own here."""
    if value == found.given.get("base_model"):
        found.needless[key] = "it is model.name"
    else:
        found.lost[key] = "configuration and tokenizer are those of model.name"


def bf16(found: Import, key: str, value: Any) -> None:
    """Training in bfloat16; auto is the default here."""
    if value == "auto":
        weights = "" if found.given.get("load_in_4bit") or found.given.get("load_in_8bit") else (
            "; weights are loaded in float32 here, in which a frozen base takes twice the memory: model.dtype: bfloat16"
        )  # fmt: skip
        found.needless[key] = f"on a GPU that has bfloat16 it is used by default{weights}"
    else:
        found.put(key, "train.bf16", True if value == "full" else value)


def targets(found: Import, key: str, value: Any) -> None:
    """The layers that get an adapter."""
    if key == "lora_target_modules" and found.given.get("lora_target_linear"):
        found.needless[key] = "all linear layers are adapted (lora_target_linear)"
    elif key == "lora_target_modules":
        found.put(key, "peft.target_modules", value)
    elif value:
        found.put(key, "peft.target_modules", "all-linear")
    else:
        found.empty.append(key)


def train_on_inputs(found: Import, key: str, value: Any) -> None:
    """Whether prompts are trained too."""
    if value is False:
        found.needless[key] = "only answers are trained by default" if found.task == SFT else "it has no effect"
    elif found.task == SFT:
        found.put(key, "data.train_on", "all")
    else:
        found.needless[key] = f"it has no effect for {found.task}"


def overlong(found: Import, key: str, value: Any) -> None:
    """What is done with rows that are too long."""
    one_of("data.overlong", {"drop": "drop", "truncate": "truncate", "raise": "error"})(found, key, value)


def per_epoch(strategy: str, steps: str) -> Rule:
    """Return the rule for a number per epoch: an epoch, or a share of all updates."""

    def rule(found: Import, key: str, value: Any) -> None:
        if not isinstance(value, int) or value < 1:
            found.empty.append(key)
            return
        epochs = found.given.get("num_epochs")
        share = 1 / (value * (epochs if isinstance(epochs, int | float) and epochs > 0 else 1))
        if value == 1 or share >= 1:
            found.put(key, f"train.{strategy}", "epoch")
        else:
            found.put(key, f"train.{strategy}", "steps")
            found.put(key, f"train.{steps}", round(share, 6), "as a share of all updates")

    return rule


def steps(strategy: str, steps: str) -> Rule:
    """Return the rule for a number of updates, which turns on the strategy that goes by it."""

    def rule(found: Import, key: str, value: Any) -> None:
        found.put(key, f"train.{steps}", value)
        if not found.given.get(strategy):
            found.put(key, f"train.{strategy}", "steps")

    return rule


def scheduler(found: Import, key: str, value: Any) -> None:
    """The schedule of the learning rate, with its lowest rate if there is one."""
    floor = found.given.get("cosine_min_lr_ratio")
    if value == "cosine" and floor:
        found.put(key, "train.lr_scheduler_type", "cosine_with_min_lr", "with cosine_min_lr_ratio")
        found.put("cosine_min_lr_ratio", "train.lr_scheduler_kwargs", {"min_lr_rate": floor})
    else:
        found.put(key, "train.lr_scheduler_type", value)


def min_lr(found: Import, key: str, value: Any) -> None:
    """The lowest learning rate, for a schedule that is not given."""
    if not value:
        found.empty.append(key)
    elif found.given.get("lr_scheduler", "cosine") != "cosine":
        found.lost[key] = "it is for lr_scheduler: cosine"
    elif "lr_scheduler" not in found.given:
        scheduler(found, "lr_scheduler", "cosine")


def packed_evaluation(found: Import, key: str, value: Any) -> None:
    """Whether rows are packed in evaluations too."""
    if bool(value) == bool(found.given.get("sample_packing")):
        found.needless[key] = "data.packing is for all rows"
    else:
        found.lost[key] = "data.packing is for all rows; it changes the speed of evaluations, not their loss"


def bnb(found: Import, key: str, value: Any) -> None:
    """Options of bitsandbytes, by the same names."""
    if not isinstance(value, Mapping):
        found.lost[key] = "valid: a mapping"
        return
    for name, each in value.items():
        found.put(f"{key}.{name}", f"quant.{name}", each)


def gradient_checkpointing(found: Import, key: str, value: Any) -> None:
    """Whether activations are recomputed."""
    found.put(key, "train.gradient_checkpointing", bool(value),
              "activations are recomputed, and not offloaded" if isinstance(value, str) else "")  # fmt: skip


def attention(name: str) -> Rule:
    """Return the rule for a switch of one implementation of attention."""
    return one_of("model.attn_implementation", {True: name, False: None})


def warmup(found: Import, key: str, value: Any) -> None:
    """Updates during which the learning rate rises; a ratio only without a number of them."""
    if key == "warmup_ratio" and found.given.get("warmup_steps"):
        found.lost[key] = "warmup_steps is given too"
    else:
        argument(key)(found, key, value)
