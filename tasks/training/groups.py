"""The optimizer's parameter groups, which training methods may change."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    import torch

Group = dict[str, Any]
OURS = ("names", "from_step")  # not options of torch's optimizers


def plain_groups(model: "torch.nn.Module", decayed: Collection[str], weight_decay: float) -> list[Group]:
    """Return transformers' two groups of trainable parameters, with and without weight decay; each with `names`."""
    trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    groups = []
    for decay, among in ((weight_decay, True), (0.0, False)):
        held = [(name, each) for name, each in trained if (name in decayed) is among]
        groups.append({"params": [each for _, each in held], "names": [name for name, _ in held],
                       "weight_decay": decay})  # fmt: skip
    return groups


def own_groups(optim: str) -> ConfigError:
    """Return the error for an optimizer that makes its own groups, in a training whose methods make groups."""
    return ConfigError(f"train.optim: {optim} makes its own parameter groups, and so does a method under `methods`; "
                       "choose another optimizer, or leave that method out")  # fmt: skip


def by_depth(groups: Sequence[Group], depth_of: Mapping[str, int]) -> list[tuple[int, Group]]:
    """Return the groups split by their parameters' depths (see `tasks.models.layers`), the lowest first."""
    found = []
    for depth in sorted({depth_of[name] for group in groups for name in group["names"]}):
        for group in groups:
            if held := [at for at, name in enumerate(group["names"]) if depth_of[name] == depth]:
                part = {of: [group[of][at] for at in held] for of in ("params", "names")}
                found.append((depth, {**group, **part}))
    return found


def for_torch(groups: Sequence[Group], model: "torch.nn.Module") -> list[Group]:
    """Return the groups for torch's optimizers, without `names` and `from_step`.

    Raises:
        ConfigError: a trainable parameter of `model` is in no group, or in several.
    """
    held = [name for group in groups for name in group["names"]]
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    odd = sorted(trained.symmetric_difference(held)) or sorted({name for name in held if held.count(name) > 1})
    if odd:
        raise ConfigError(f"methods: after all methods made their parameter groups, {odd[0]} is not in exactly one "
                          f"({len(odd)} such parameters)")  # fmt: skip
    return [{name: value for name, value in group.items() if name not in OURS} for group in groups]
