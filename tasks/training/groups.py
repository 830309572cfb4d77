"""The optimizer's parameter groups, which training methods may change."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    import torch

Group = dict[str, Any]


def plain_groups(model: "torch.nn.Module", decayed: Collection[str], weight_decay: float) -> list[Group]:
    """Return transformers' two groups of trainable parameters, with and without weight decay; each with `names`."""
    trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    groups = []
    for decay, among in ((weight_decay, True), (0.0, False)):
        held = [(name, each) for name, each in trained if (name in decayed) is among]
        groups.append({"params": [each for _, each in held], "names": [name for name, _ in held],
                       "weight_decay": decay})  # fmt: skip
    return groups


def for_torch(groups: Sequence[Group], model: "torch.nn.Module") -> list[Group]:
    """Return the groups for torch's optimizers, without names.

    Raises:
        ConfigError: a trainable parameter of `model` is in no group, or in several.
    """
    held = [name for group in groups for name in group["names"]]
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    odd = sorted(trained.symmetric_difference(held)) or sorted({name for name in held if held.count(name) > 1})
    if odd:
        raise ConfigError(f"methods: after all methods made their parameter groups, {odd[0]} is not in exactly one "
                          f"({len(odd)} such parameters)")  # fmt: skip
    return [{name: value for name, value in group.items() if name != "names"} for group in groups]
