"""What methods that hold weights need besides the training: copies in memory, and files in the store."""

from collections.abc import Mapping
from typing import Any

from tasks.config import RunConfig

COPY = 4  # bytes of a weight in float32


def held_memory(config: RunConfig, base: Mapping[str, Any], trainable: int) -> int:
    """Return the bytes of the copies that `l2_to_start` and `ewc` hold and compute with: for each trained weight of the
    body the start and the difference from it; the center, its precision and the difference.

    Args:
        base: `base.json` of stage 3. trainable: parameters that are trained.
    """
    copies = {"l2_to_start": ("weight", 2), "ewc": ("ewc_lambda", 3)}
    wanted = sum(count for name, (strength, count) in copies.items() if config.methods.get(name, {}).get(strength))
    return wanted * COPY * min(trainable, base["parameters"])


def held_disk(config: RunConfig, base: Mapping[str, Any]) -> int:
    """Return the bytes of the Fisher information and the center of all earlier tasks. For arguments see
    `held_memory`."""
    return 2 * COPY * base["parameters"] * len(config.methods.get("ewc", {}).get("previous", ()))
