"""Trainings that differ only in their length: the longer one can resume from the end of the shorter one."""

from collections.abc import Mapping
from typing import Any

from tasks.config.json_types import JsonObject

LENGTH = ("max_steps", "num_train_epochs")
SHARES = ("eval_steps", "warmup_steps")  # values below 1 are shares of all steps


def without_length(plan: Mapping[str, Any]) -> JsonObject | None:
    """Return the plan without its length; None if what happens at a step depends on the total number of steps."""
    given = plan["arguments"]
    schedule = given.get("lr_scheduler_type", "linear")
    shares = [name for name in SHARES if 0 < float(given.get(name) or 0) < 1]
    if schedule == "constant":  # without warm-up
        shares = [name for name in shares if name != "warmup_steps"]
    if schedule not in ("constant", "constant_with_warmup") or shares or plan["patience"] or plan.get("ranks"):
        return None
    arguments = {name: value for name, value in given.items() if name not in LENGTH}
    return {**plan, "arguments": arguments, "steps": plan["steps"]["steps_per_epoch"]}


def is_prefix(plan: Mapping[str, Any], end: int) -> bool:
    """Whether a training that ended after step `end` is a prefix of this one.

    If `end` is within an epoch, the shorter training has an evaluation there that the longer one lacks, which matters
    if the best checkpoint is kept.
    """
    steps = plan["steps"]
    best = plan["arguments"].get("load_best_model_at_end")
    return 0 < end < steps["total"] and (not best or end % steps["steps_per_epoch"] == 0)
