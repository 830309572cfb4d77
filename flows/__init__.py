"""`from flows import finetune; model, tokenizer = finetune(config)`."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.door import finetune as finetune

__all__ = ["finetune"]


class _Package(ModuleType):
    """The package's name `finetune` is the function, though a submodule (the flow) has that name too.

    A property, because importing the submodule would else put the module in the function's place; and so that
    `finetune --help` imports nothing.
    """

    @property
    def finetune(self) -> Any:
        from flows.door import finetune

        return finetune

    @finetune.setter
    def finetune(self, module: ModuleType) -> None:
        """What the import system does after importing `flows.finetune`; the function stays."""


sys.modules[__name__].__class__ = _Package
