"""The skeleton every task type has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from tasks.data.columns import Role


@dataclass(frozen=True)
class Objective:
    """A task type, as names of its parts (`module:attribute`), so that knowing a task costs no import.

    Attributes:
        name: the task as users write it. `aliases` are other people's words for it.
        roles: the columns its rows need.
        prepare: rows as read -> checked, split rows and label schema (`tasks.data`).
        encode: rows -> token columns (`tasks.data`).
        collate: token rows -> padded batch (`tasks.training`).
        auto_model: the `transformers` auto class that has its head.
        peft_task_type: peft's `TaskType`.
        metrics: (predictions, references, label names) -> {name: value} (`tasks.evaluation`).
        metric_names: what `metrics` gives, best known first; `greater_is_better` says which way is up.
        loss_ignores_num_items: the model's loss is a mean over the micro-batch. The Trainer must then divide it by
            the accumulation steps itself, which transformers 5.23 leaves out for forwards with `**kwargs`.
        defaults: dotted config field -> value where the field's practice has one; `lora_defaults` go before them
            when an adapter is trained.
    """

    name: str
    aliases: tuple[str, ...]
    roles: tuple[Role, ...]
    prepare: str
    encode: str
    collate: str
    auto_model: str
    peft_task_type: str
    metrics: str
    metric_names: tuple[str, ...]
    greater_is_better: Mapping[str, bool]
    loss_ignores_num_items: bool
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lora_defaults: Mapping[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> Any:
        """Import and return a part."""
        module, _, attribute = getattr(self, name).partition(":")
        return getattr(import_module(module), attribute)

    def describe(self, parts: tuple[str, ...]) -> dict[str, Any]:
        """The parts as JSON, for a key."""
        described = asdict(self)
        return {part: _jsonable(described[part]) for part in parts}


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(leaf) for name, leaf in value.items()}
    return [_jsonable(leaf) for leaf in value] if isinstance(value, tuple | list) else value
