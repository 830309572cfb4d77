"""`from flows import finetune; model, tokenizer = finetune(config)`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.ask import evaluate as evaluate
    from flows.ask import predict as predict
    from flows.door import finetune as finetune
    from flows.txtai import HFTrainer as HFTrainer

__all__ = ["HFTrainer", "evaluate", "finetune", "predict"]
LATE = {"HFTrainer": "flows.txtai", "evaluate": "flows.ask", "predict": "flows.ask"}


class _Package(ModuleType):
    """The package's name `finetune` is the function, though a submodule (the flow) has that name too.

    A property, because importing the submodule would else put the module in the function's place; and so that
    `finetune --help` imports nothing.
    """

    @property
    def finetune(self) -> Any:
        from flows.door import finetune

        return finetune

    def __getattr__(self, name: str) -> Any:
        if name in LATE:
            return getattr(import_module(LATE[name]), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    @finetune.setter
    def finetune(self, module: ModuleType) -> None:
        """What the import system does after importing `flows.finetune`; the function stays."""


sys.modules[__name__].__class__ = _Package
