"""Count a training's steps in advance, without torch: plans and form checks use it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject


@dataclass(frozen=True)
class Steps:
    """The arithmetic of one training on one device.

    Attributes:
        effective_batch_size: rows per optimizer step.
        steps_per_epoch: optimizer steps in an epoch; `total`: in the training; `warmup`: of rising learning rate.
    """

    effective_batch_size: int
    steps_per_epoch: int
    total: int
    warmup: int


def drawn(plan: Mapping[str, Any]) -> JsonObject:
    """Return what determines the rows of a view that draws them anew in each epoch, and for how many epochs."""
    steps = plan["steps"]
    return {"epochs": -(-steps["total"] // steps["steps_per_epoch"]), "seed": plan["seed"], "options": plan["options"]}


def check_schedule(arguments: Mapping[str, Any], steps: Steps, evaluated: bool) -> None:
    """Check the schedule of the learning rate against a training.

    Args:
        evaluated: whether there are validation rows.

    Raises:
        ConfigError: it depends on evaluations, and there are none; or it is longer than the training.
    """
    kind, options = arguments["lr_scheduler_type"], arguments.get("lr_scheduler_kwargs") or {}
    if kind in ("reduce_lr_on_plateau", "greedy") and not evaluated:
        raise ConfigError(f"train.lr_scheduler_type: {kind} depends on evaluations, and there are no validation rows; "
                          "set data.validation, or a share of data.train in data.split.validation")  # fmt: skip
    options = json.loads(options) if isinstance(options, str) else options
    parts = [steps.warmup, *(options.get(name) or 0 for name in ("num_stable_steps", "num_decay_steps"))]
    if kind == "warmup_stable_decay" and sum(parts) > steps.total:
        raise ConfigError(f"train.lr_scheduler_kwargs: {' + '.join(f'{part:g}' for part in parts)} steps of warm-up, "
                          f"constant learning rate and decay, in a training of {steps.total}; set fewer")  # fmt: skip


def check_ranks(ranks: Mapping[str, int] | None, total: int) -> None:
    """Check that a training has steps in which AdaLoRA lowers ranks.

    Args:
        ranks: `tinit` and `tfinal` of the adapter; None: it has no such schedule. total: steps of the training.

    Raises:
        ConfigError: there are none.
    """
    around = ranks["tinit"] + ranks["tfinal"] if ranks else 0
    if ranks and around >= total:
        raise ConfigError(f"peft.tinit: {ranks['tinit']} steps, and peft.tfinal: {ranks['tfinal']}, in a training of "
                          f"{total}: no step is left in which ranks are lowered; set them to less than {total} "
                          f"together, or train more than {around} steps")  # fmt: skip


def count_steps(arguments: Mapping[str, Any], rows: int) -> Steps:
    """Count steps as transformers' Trainer does: the last, shorter accumulation window of an epoch is a step too.

    Args:
        arguments: resolved training arguments. rows: of the training split.

    Raises:
        ConfigError: the warm-up would last as long as the training.
    """
    batch, windows = arguments["per_device_train_batch_size"], arguments["gradient_accumulation_steps"]
    batches = rows // batch if arguments.get("dataloader_drop_last") else ceil(rows / batch)
    per_epoch = max(ceil(batches / windows), 1)
    total = arguments["max_steps"] if arguments["max_steps"] > 0 else ceil(arguments["num_train_epochs"] * per_epoch)
    requested = arguments["warmup_steps"]
    warmup = int(requested) if requested >= 1 else ceil(total * requested)
    if warmup >= total > 0 and warmup > 1:
        raise ConfigError(
            f"train.warmup_steps: {requested:g} steps of warm-up in a training of {total}: the learning rate would "
            "never be reached; set fewer, or a share below 1"
        )
    return Steps(batch * windows, per_epoch, total, warmup)


def repeated_rows(training: Mapping[str, Any], rows: int, iterations: int) -> int:
    """Return the rows of an epoch in which each step's rows are trained `iterations` times; then only full steps are
    used.

    Raises:
        ConfigError: they are less than one step.
    """
    step = training["per_device_train_batch_size"] * training["gradient_accumulation_steps"]
    if iterations > 1 and rows < step:
        raise ConfigError(f"rl.num_iterations: {iterations} steps on each {step} prompts, and there are only {rows}; "
                          "lower train.per_device_train_batch_size or train.gradient_accumulation_steps, or set it to "
                          "1")  # fmt: skip
    return rows if iterations == 1 else rows // step * step * iterations
