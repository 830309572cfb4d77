"""Training methods: one file and one row each. Users' own come through the entry point group
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
    """Every known method by name: ours, and those installed beside us."""
    others = {entry.name: entry.load() for entry in entry_points(group="finetune_flow.training_methods")}
    return {**others, **METHODS}
