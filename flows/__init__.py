"""`from flows import finetune; model, tokenizer = finetune(config)`."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.api import finetune as finetune
    from flows.chain.api import align as align
    from flows.chain.api import continual as continual
    from flows.inference import evaluate as evaluate
    from flows.inference import predict as predict
    from flows.sweep.api import grid as grid
    from flows.txtai import HFTrainer as HFTrainer

__all__ = ["HFTrainer", "align", "continual", "evaluate", "finetune", "grid", "predict"]
LAZY = {
    "HFTrainer": "flows.txtai",
    "align": "flows.chain.api",
    "continual": "flows.chain.api",
    "evaluate": "flows.inference",
    "finetune": "flows.api",
    "grid": "flows.sweep.api",
    "predict": "flows.inference",
}

# Read when a GPU is first used: deterministic cuBLAS, and GPUs numbered by PCI bus, as the driver numbers them.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used, so that `finetune --help` imports nothing."""
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
