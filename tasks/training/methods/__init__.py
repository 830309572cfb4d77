"""Training methods: one file and one row each. Users add their own through the entry point group
`finetune_flow.training_methods`, whose entries name a `Method`. Nothing here imports torch.
"""

from collections.abc import Mapping
from functools import cache

from tasks.config.plugins import installed
from tasks.training.methods.base import Method
from tasks.training.methods.class_weights import CLASS_WEIGHTS
from tasks.training.methods.distillation import DISTILLATION
from tasks.training.methods.ewc import EWC
from tasks.training.methods.focal_loss import FOCAL_LOSS
from tasks.training.methods.freeze import FREEZE
from tasks.training.methods.head_learning_rate import HEAD_LEARNING_RATE
from tasks.training.methods.l2_to_start import L2_TO_START
from tasks.training.methods.labelled_logits import LABELLED_LOGITS
from tasks.training.methods.layerwise_lr_decay import LAYERWISE_LR_DECAY
from tasks.training.methods.loraplus import LORAPLUS
from tasks.training.methods.rehearsal import REHEARSAL
from tasks.training.methods.unfreeze import UNFREEZE
from tasks.training.methods.weighted_sampling import WEIGHTED_SAMPLING

METHODS: Mapping[str, Method] = {
    "class_weights": CLASS_WEIGHTS,
    "distillation": DISTILLATION,
    "ewc": EWC,
    "focal_loss": FOCAL_LOSS,
    "l2_to_start": L2_TO_START,
    "labelled_logits": LABELLED_LOGITS,
    "layerwise_lr_decay": LAYERWISE_LR_DECAY,
    "head_learning_rate": HEAD_LEARNING_RATE,
    "loraplus": LORAPLUS,
    "freeze": FREEZE,
    "rehearsal": REHEARSAL,
    "unfreeze": UNFREEZE,
    "weighted_sampling": WEIGHTED_SAMPLING,
}


@cache
def methods() -> Mapping[str, Method]:
    """Return every known method by name: built-in ones, and those of installed packages.

    Raises:
        ConfigError: a package's cannot be loaded.
    """
    return {**installed("finetune_flow.training_methods", Method), **METHODS}
