"""What a training would train, from a model without weights: which parts, from which step, at which learning rate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.training.groups import own_groups, plain_groups
from tasks.training.hooks import TrainingHook, overrides

if TYPE_CHECKING:
    import torch

OWN_GROUPS = ("galore_", "apollo_", "lomo", "adalomo")


def refuse_unfit(hooks: Sequence[TrainingHook], model: "torch.nn.Module", plan: Mapping[str, Any]) -> None:
    """Check that methods fit a model, and set `requires_grad` of its parameters as they do.

    Args:
        hooks: of `model`. plan: of the training; its `arguments` and `methods` are enough.

    Raises:
        ConfigError: a method does not fit the model or the optimizer, or nothing is left to train.
    """
    optim = str(plan["arguments"].get("optim"))
    if optim.startswith(OWN_GROUPS) and any(overrides(hook, "parameter_groups") for hook in hooks):
        raise own_groups(optim)
    for hook in hooks:
        hook.check()
    for hook in hooks:
        hook.set_trainable()
    if not any(each.requires_grad for each in model.parameters()):
        names = ", ".join(plan["methods"])
        reason = f"methods: {names} would freeze every parameter of the model" if names else "peft: it changes no layer"
        raise ConfigError(f"{reason}, so nothing could be trained")


def describe(
    hooks: Sequence[TrainingHook], model: "torch.nn.Module", plan: Mapping[str, Any]
) -> tuple[list[JsonObject], list[str]]:
    """Return the groups of parameters that are trained in the same way, the lowest layers first, and the methods'
    warnings, after `refuse_unfit`.

    A group has `group` (which layers), `parameters` (their number), `learning_rate` (None: frozen) and `from_step` (the
    steps before it is trained).
    """
    arguments = plan["arguments"]
    groups = plain_groups(model, [name for name, _ in model.named_parameters()], arguments.get("weight_decay") or 0.0)
    for hook in hooks:
        groups = hook.parameter_groups(groups)
    how = {name: (group.get("lr", arguments["learning_rate"]), group.get("from_step", 0))
           for group in groups for name in group["names"]}  # fmt: skip
    depth_of, layers = _depths(model)
    sizes: dict[tuple[float | None, int], dict[int, int]] = {}
    for name, each in model.named_parameters():
        at = sizes.setdefault(how.get(name, (None, 0)), {})
        at[depth_of[name]] = at.get(depth_of[name], 0) + each.numel()
    rows = [
        (run[0], {"group": _label(run[0], run[-1], layers), "parameters": sum(found[depth] for depth in run),
                  "learning_rate": rate, "from_step": start})
        for (rate, start), found in sizes.items() for run in _runs(sorted(found))
    ]  # fmt: skip
    rows.sort(key=lambda row: row[0])
    return [row for _, row in rows], [line for hook in hooks for line in hook.warnings()]


def trained(groups: Sequence[Mapping[str, Any]], steps: int) -> int:
    """Return the number of parameters that are trained within so many steps."""
    return sum(each["parameters"] for each in groups if each["learning_rate"] is not None and each["from_step"] < steps)


def _depths(model: "torch.nn.Module") -> tuple[Mapping[str, int], int]:
    from tasks.models.layers import depths

    try:
        return depths(model)
    except ConfigError:  # no method needs them
        return {name: -1 for name, _ in model.named_parameters()}, 0


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Split ascending numbers into runs of consecutive ones."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _label(lowest: int, highest: int, layers: int) -> str:
    """Name a range of depths (see `tasks.models.layers`)."""
    first, last = max(lowest, 1), min(highest, layers)
    parts = ["embeddings"] if lowest == 0 else []
    if first <= last:
        parts.append(f"layer {first}" if first == last else f"layers {first} to {last}")
    return ", ".join([*parts, "head"] if highest == layers + 1 else parts) or "model"
