"""What a training method is, without importing torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tasks.config.sections.section import Section


@dataclass(frozen=True)
class Method:
    """A way to train that a run may add to plain fine-tuning.

    Attributes:
        name: as users write it under `methods`.
        summary: one sentence, for the JSON Schema and the README.
        options: the section of its options; a single value stands for the field that `options.bare` names.
        hook: `module:attribute` of its `tasks.training.hooks.TrainingHook`.
    """

    name: str
    summary: str
    options: type[Section]
    hook: str

    @property
    def module(self) -> str:
        """The module whose code is in the key of a training that uses the method."""
        return self.hook.partition(":")[0]

    def make(self, options: Mapping[str, Any], model: Any, plan: Mapping[str, Any]) -> Any:
        """Its hook for one training."""
        return getattr(import_module(self.module), self.hook.partition(":")[2])(options, model, plan)
