"""Training methods: one file and one row each. Users add their own through the entry point group
`finetune_flow.training_methods`, whose entries name a `Method`. Nothing here imports torch.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from tasks.training.methods.base import Method
from tasks.training.methods.layerwise_lr_decay import LAYERWISE_LR_DECAY

METHODS: Mapping[str, Method] = {
    "layerwise_lr_decay": LAYERWISE_LR_DECAY,
}


@cache
def methods() -> Mapping[str, Method]:
    """Return every known method by name: built-in ones, and those of installed packages."""
    others = {entry.name: entry.load() for entry in entry_points(group="finetune_flow.training_methods")}
    return {**others, **METHODS}
