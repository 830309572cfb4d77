"""What a run will cost, before it costs it: from counts and configs, without loading a weight."""

from dataclasses import dataclass
from typing import Any

from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.config import RunConfig
from tasks.runtime.context import RunContext
from tasks.runtime.stage import Pending

GIB = 1024**3


@dataclass(frozen=True)
class Estimate:
    """Costs of a training.

    Attributes:
        steps: optimizer steps; `tokens`: seen in all epochs, padding not counted.
        memory: bytes at the peak of a training step (weights, gradients, optimizer, activations of the longest batch).
        disk: bytes the store will hold for it at most, checkpoints included.
        trainable: parameters that are trained.
        seconds: the training takes, as slow as any before of the same base and rows was; None if there was none here.
    """

    steps: int
    tokens: int
    memory: int
    disk: int
    trainable: int
    seconds: float | None


def estimate(config: RunConfig, context: RunContext) -> Estimate | None:
    """Return the estimate, or None while the plan of the training is not known."""
    plan_ref, base_ref = context.refs["s08_trainer"], context.refs["s03_base"]
    if isinstance(plan_ref, Pending) or isinstance(base_ref, Pending):
        return None
    plan, base = context.read("s08_trainer", "plan.json"), context.read("s03_base", "base.json")
    parameters = base["parameters"]
    trainable = parameters if config.peft.method == "none" else _lora_parameters(config, base)
    width = 2 if config.model.dtype in ("bfloat16", "float16") else 4
    if config.quant.load_in_4bit or config.quant.load_in_8bit:
        width = 1
    states = trainable * (4 + 8)  # gradients; two moments of Adam
    memory = parameters * width + states + _activations(plan, base)
    kept = trainable * 4
    checkpoints = (trainable * 12) * ((config.train.save_total_limit or 1) + 1)
    epochs = plan["steps"]["total"] / plan["steps"]["steps_per_epoch"]
    pace, rows = _seconds_a_row(context), plan["steps"]["total"] * plan["steps"]["effective_batch_size"]
    return Estimate(
        plan["steps"]["total"], round(plan["tokens_per_epoch"] * epochs), memory, kept + checkpoints, trainable,
        None if pace is None else pace * rows,
    )  # fmt: skip


def _seconds_a_row(context: RunContext) -> float | None:
    """Of the slowest training of the same base and rows: one that was resumed says less than it took."""
    if context.store.local is None:  # too many objects to ask for
        return None
    refs = context.refs
    asked = refs["s03_base"].digest, refs["s05_tokenize"].select("train-*", "validation-*").digest
    plans = {_digest(record): record.facts for record in context.store.records("s08_trainer")}
    paces = []
    for record in context.store.records("s09_train"):
        given = record.document["inputs"]
        if (given["base"], given["tokens"]) == asked and (plan := plans.get(given["plan"])):
            paces.append(record.seconds / (plan["steps"] * plan["effective_batch_size"]))
    return max(paces, default=None)


def _digest(record: Record) -> str:
    return ArtifactRef(stage=record.stage, key=record.key, members=record.members).digest


def _activations(plan: dict[str, Any], base: dict[str, Any]) -> int:
    """Bytes kept for the backward pass of one batch of the longest rows (Korthikanti et al. 2022, eq. 1, at the
    precision of the activations)."""
    if not (base["hidden_size"] and base["num_layers"]):
        return 0
    rows, length = plan["arguments"]["per_device_train_batch_size"], plan["longest"]
    width, heads = base["hidden_size"], base["num_heads"] or 1
    values = rows * length * width * (34 + 5 * heads * length / width) / 2
    return int(values * base["num_layers"] * (2 if plan["arguments"].get("bf16") else 4))


def _lora_parameters(config: RunConfig, base: dict[str, Any]) -> int:
    """About two matrices of rank r for each of some six square layers in every block."""
    if config.peft.method != "lora" or not (base["hidden_size"] and base["num_layers"]):
        return 0
    return int(base["num_layers"] * 6 * 2 * base["hidden_size"] * (config.peft.r or 8) * 1.5)


def lasting(seconds: float) -> str:
    """A length of time as one says it."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
