"""Estimates the cost of a run from counts and configs, without loading weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ModelConfig, NoPeft, RunConfig
from tasks.data.tokens.token_rows import tokens_of
from tasks.execution.distilled import answers_size
from tasks.execution.held import held_disk, held_memory
from tasks.execution.memory import activations, largest_batch, logits
from tasks.execution.methods import counted, planned_groups
from tasks.execution.sample import sampled_plan
from tasks.objectives import objective_of
from tasks.runtime.context import RunContext
from tasks.runtime.inputs import Pending
from tasks.runtime.log import warn
from tasks.training.planned import trained

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.models.count import Counts

MB = 1_000_000
GIB = 1024**3
# Memory of Python, torch, transformers and other libraries without a model (see tests/benchmarks/memory.py), and of the
# CUDA context on a GPU.
PROCESS, CONTEXT = 730 * MB, 500 * MB
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Estimate:
    """Costs of a training.

    Attributes:
        steps: optimizer steps; `tokens`: processed in all epochs, without padding.
        memory: peak bytes of a training step on the training device, the sum of `memory_parts`.
        memory_parts: bytes of the process (or CUDA context), weights, gradients, optimizer, activations and logits of
            the longest batch, of the weights that training methods hold and, with rewards, of the reference and the
            reward model.
        disk: maximum bytes in the store, checkpoints included.
        trainable: parameters that are trained.
        seconds: of the training, at the slowest pace of earlier ones with the same base and rows; None if there are
            none in the store.
        device, threads, float32_matmul_precision: those of the training.
        sampled: how many rows were tokenized for this estimate, and of how many; None: all of them.
        groups: with training methods, the parameters that are trained alike (see `tasks.training.planned.describe`).
    """

    steps: int
    tokens: int
    memory: int
    memory_parts: Mapping[str, int]
    disk: int
    trainable: int
    seconds: float | None
    device: str
    threads: int
    float32_matmul_precision: str
    sampled: tuple[int, int] | None = None
    groups: tuple[Mapping[str, Any], ...] = ()


def estimate(config: RunConfig, context: RunContext) -> Estimate | None:
    """Return the estimate, or None if rows, base or arguments are not known yet."""
    known = not isinstance(context.refs["s08_trainer"], Pending)
    found = _planned(context) if known else sampled_plan(config, context)
    if found is None or isinstance(context.refs["s03_base"], Pending):
        return None
    plan, tokens = found
    base = context.read("s03_base", "base.json")
    counts = _counts(config, context)
    groups, warnings = planned_groups(config, context, plan) if config.methods else ([], [])
    for line in warnings:
        warn(line)
    trainable = trained(groups, plan["steps"]["total"]) if groups else counts.trainable
    batch = largest_batch(tokens, plan["arguments"]["per_device_train_batch_size"], config)
    weights = _weights(config, counts)
    parts = {
        "process": PROCESS if plan["device"] == "cpu" else CONTEXT,
        "weights": weights,
        "gradients": trainable * 4,
        "optimizer": trainable * 8,  # two moments of Adam
        "activations": activations(batch, plan, base, counts, _drops(config), BYTES.get(config.model.dtype, 4)),
        "logits": logits(batch, base, counts, bool(objective_of(config.task).rl_options)),
        "reference_model": _reference(config, weights),
        "reward_model": _reward_model(config),
        "held_weights": held_memory(config, base, trainable),
    }
    kept, taught = counts.trainable * 4, answers_size(config, context, plan, tokens)
    checkpoints = (kept + trainable * 8) * ((config.train.save_total_limit or 1) + 1)
    epochs = plan["steps"]["total"] / plan["steps"]["steps_per_epoch"]
    pace, rows = _seconds_a_row(context), plan["steps"]["total"] * plan["steps"]["effective_batch_size"]
    return Estimate(
        plan["steps"]["total"], round(plan["tokens_per_epoch"] * epochs), sum(parts.values()), parts,
        kept + checkpoints + taught + held_disk(config, base), trainable,
        None if pace is None else pace * rows, plan["device"], plan["threads"],
        plan["float32_matmul_precision"], plan.get("sampled"), tuple(groups),
    )  # fmt: skip


def _drops(config: RunConfig) -> bool:
    """Return whether the model is trained with dropout."""
    objective = objective_of(config.task)
    return not (("disable_dropout" in objective.options and config.preference.disable_dropout)
                or ("disable_dropout" in objective.rl_options and config.rl.disable_dropout))  # fmt: skip


def _reference(config: RunConfig, weights: int) -> int:
    """Return the bytes of a copy of the model before training, which learning from rewards with a divergence needs,
    unless it is the model with its adapter switched off."""
    needed = (config.rl.beta or config.rl.kl_coef) and objective_of(config.task).rl_options
    return weights if needed and config.peft.method != "lora" else 0


def _reward_model(config: RunConfig) -> int:
    """Return the bytes of the reward model's weights, which are loaded beside the policy in float32 (see
    `tasks.evaluation.reward_model`). A value head is one row of weights, which does not count."""
    if config.rl.reward_model is None or not objective_of(config.task).rl_options:
        return 0
    from tasks.models.bases.base import base_files
    from tasks.models.count import count

    folder = base_files(ModelConfig(name=config.rl.reward_model))["config.json"].parent
    loading, head = {"auto_model": objective_of("reward").auto_model}, {"labels": None, "problem_type": "regression"}
    return count(folder, {}, loading, head, NoPeft(), "").parameters * 4


def _planned(context: RunContext) -> "tuple[dict[str, Any], pa.Table]":
    """Return `plan.json` and the training rows."""
    tokens = tokens_of(context.open(context.refs["s05_tokenize"]).paths("train-"))
    assert tokens is not None
    return context.read("s08_trainer", "plan.json"), tokens


def _weights(config: RunConfig, counts: "Counts") -> int:
    """Return the bytes of the model's weights; beside quantized ones, the others are converted to float32."""
    if not counts.quantized:
        return counts.parameters * BYTES.get(config.model.dtype, 4)
    from tasks.models.quantized import bytes_of

    return bytes_of(counts.quantized, config.quant) + (counts.parameters - counts.quantized) * 4


def _counts(config: RunConfig, context: RunContext) -> "Counts":
    """Return the counts found by the stages, if they have run; else those of the architecture."""
    from tasks.models.count import Counts

    refs = context.refs
    if not isinstance(refs["s06_model"], Pending) and not isinstance(refs["s07_adapter"], Pending):
        size, adapter = context.read("s06_model", "size.json"), context.read("s07_adapter", "adapter.json")
        trainable = adapter.get("trainable", size["parameters"])
        dropped = adapter.get("dropped", 0)
        return Counts(size["parameters"], trainable, size["logits"], size["quantized"], dropped)
    return counted(config, context)


def _seconds_a_row(context: RunContext) -> float | None:
    """Return the slowest pace of trainings with the same base and rows, since records of resumed ones are too short."""
    if context.store.local is None:  # would take too many requests
        return None
    refs = context.refs
    wanted = refs["s03_base"].digest, refs["s05_tokenize"].select("train-*", "validation-*").digest
    plans = {_digest(record): record.facts for record in context.store.records("s08_trainer")}
    paces = []
    for record in context.store.records("s09_train"):
        given = record.document["inputs"]
        if (given["base"], given["tokens"]) == wanted and (plan := plans.get(given["plan"])):
            paces.append(record.seconds / (plan["steps"] * plan["effective_batch_size"]))
    return max(paces, default=None)


def _digest(record: Record) -> str:
    return ArtifactRef(stage=record.stage, key=record.key, members=record.members).digest


def format_duration(seconds: float) -> str:
    """Format a duration for people."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def format_bytes(number: float) -> str:
    """Format an amount of memory or disk for people."""
    return f"{number / GIB:.1f} GiB" if number >= 10 * GIB else f"{max(number / MB, 1):,.0f} MB"
