"""`from flows import finetune; model, tokenizer = finetune(config)`."""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.ask import evaluate as evaluate
    from flows.ask import predict as predict
    from flows.door import finetune as finetune
    from flows.sweep_door import grid as grid
    from flows.txtai import HFTrainer as HFTrainer

__all__ = ["HFTrainer", "evaluate", "finetune", "grid", "predict"]
LATE = {"HFTrainer": "flows.txtai", "evaluate": "flows.ask", "predict": "flows.ask"}

# Read when a GPU is first used: sums in one order, and GPUs counted by the bus, as the driver counts them.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


class _Package(ModuleType):
    """The package's names `finetune` and `grid` are functions, though submodules (the flows) have those names too.

    Properties, because importing the submodules would else put the modules in the functions' places; and so that
    `finetune --help` imports nothing.
    """

    @property
    def finetune(self) -> Any:
        from flows.door import finetune

        return finetune

    @property
    def grid(self) -> Any:
        from flows.sweep_door import grid

        return grid

    def __getattr__(self, name: str) -> Any:
        if name in LATE:
            return getattr(import_module(LATE[name]), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    @finetune.setter
    def finetune(self, module: ModuleType) -> None:
        """What the import system does after importing `flows.finetune`; the function stays."""

    @grid.setter
    def grid(self, module: ModuleType) -> None:
        """The same for `flows.grid`."""


sys.modules[__name__].__class__ = _Package
