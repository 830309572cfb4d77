"""Which trainings differ only in their length, so that the longer one can resume where the shorter one ended."""

from collections.abc import Mapping
from typing import Any

LENGTH = ("max_steps", "num_train_epochs")
SHARES = ("eval_steps", "warmup_steps")  # below 1 they are shares of all steps


def without_length(plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """The plan without its length; None where what is done at a step depends on how many there will be."""
    given = plan["arguments"]
    schedule = given.get("lr_scheduler_type", "linear")
    shares = [name for name in SHARES if 0 < float(given.get(name) or 0) < 1]
    if schedule == "constant":  # it has no warm-up
        shares = [name for name in shares if name != "warmup_steps"]
    if schedule not in ("constant", "constant_with_warmup") or shares or plan["patience"]:
        return None
    arguments = {name: value for name, value in given.items() if name not in LENGTH}
    return {**plan, "arguments": arguments, "steps": plan["steps"]["steps_per_epoch"]}


def goes_on(plan: Mapping[str, Any], end: int) -> bool:
    """Whether a training that ended after step `end` is a prefix of this one.

    Where `end` is within an epoch, the shorter training has an evaluation there that the longer one lacks, which
    matters where the best checkpoint is kept.
    """
    steps = plan["steps"]
    best = plan["arguments"].get("load_best_model_at_end")
    return 0 < end < steps["total"] and (not best or end % steps["steps_per_epoch"] == 0)
