"""The definition of a training method, without importing torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tasks.config.sections.section import Section

if TYPE_CHECKING:
    import torch

    from tasks.training.hooks import TrainingHook


@dataclass(frozen=True)
class Method:
    """An optional training method, added to plain fine-tuning.

    Attributes:
        name: as users write it under `methods`.
        summary: one sentence, for the JSON Schema and the README.
        options: the section of its options; a single value sets the field that `options.bare` names.
        hook: `module:attribute` of its `tasks.training.hooks.TrainingHook`.
    """

    name: str
    summary: str
    options: type[Section]
    hook: str

    @property
    def module(self) -> str:
        """Return the module whose code is in the key of a training with this method."""
        return self.hook.partition(":")[0]

    def make(self, options: Mapping[str, Any], model: "torch.nn.Module", plan: Mapping[str, Any]) -> "TrainingHook":
        """Return its hook for one training."""
        return getattr(import_module(self.module), self.hook.partition(":")[2])(options, model, plan)
