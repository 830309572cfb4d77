"""The skeleton every task type has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from tasks.data.rows.columns import Role


@dataclass(frozen=True)
class Objective:
    """A task type, as names of its parts (`module:attribute`), so that knowing a task costs no import.

    Attributes:
        name: the task as users write it. `aliases` are other people's words for it.
        roles: the columns its rows may have.
        prepare: rows as read -> checked, split rows and head (`tasks.data`).
        encode: rows -> token columns (`tasks.data`); `shape` names the fields of `data` it reads.
        gather: all token rows of a split -> the rows a model sees, for language models that merge texts.
        view: token rows -> the rows a loader gives out, where they change from epoch to epoch (masking).
        collate: rows -> padded batch.
        trainer: the class that trains, a `FinetuneTrainer`.
        loss: `(model, batch) -> (loss, outputs)` in place of the model's own, a mean over the micro-batch.
        auto_model: the `transformers` auto class that has its head, or a class of ours (`module:attr`).
        peft_task_type: peft's `TaskType`.
        judge: batch -> one predictions row a data row (`tasks.evaluation`).
        score: head -> the scorer of its predictions (`tasks.evaluation.score.Scorer`).
        metric_names: what `score` gives, best known first; `greater_is_better` says which way is up. Where that hangs
            on the rows, `metrics_by_problem` says it by transformers' `problem_type`.
        pipeline_tag: the hub's word for what the model does.
        loss_ignores_num_items: the model's loss is a mean over the micro-batch. The Trainer must then divide it by
            the accumulation steps itself, which transformers 5.23 leaves out for forwards with `**kwargs`.
        unseen: rows as read -> rows a finished model can be asked about, and what is to be said
            (`tasks.data.rows.inference_rows`).
        asked: other parts for rows whose answers nobody knows: `encode`, `view`, `collate`, `judge`.
        needs: what the tokenizer must have: `fast`, `mask_token`, `cls_token`.
        defaults: dotted config field -> value where the field's practice has one; `lora_defaults` go before them
            when an adapter is trained.
    """

    name: str
    aliases: tuple[str, ...]
    roles: tuple[Role, ...]
    prepare: str
    encode: str
    shape: tuple[str, ...]
    collate: str
    auto_model: str
    peft_task_type: str
    predictor: str
    scorer: str
    metric_names: tuple[str, ...]
    greater_is_better: Mapping[str, bool]
    pipeline_tag: str
    loss_ignores_num_items: bool
    inference_rows: str
    inference: Mapping[str, str] = field(default_factory=dict)
    metrics_by_problem: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gather: str | None = None
    trainer: str = "tasks.training.trainer:FinetuneTrainer"
    loss: str | None = None
    view: str = "tasks.data.tokens.dataset:TokenRows"
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lora_defaults: Mapping[str, Any] = field(default_factory=dict)

    def component(self, name: str) -> Any:
        """Import and return a component; None for one it does not have."""
        return named(value) if (value := getattr(self, name)) else None

    def describe(self, components: tuple[str, ...]) -> dict[str, Any]:
        """Name and components as JSON, for a key."""
        described = asdict(self)
        return {name: _jsonable(described[name]) for name in ("name", *components)}

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """The modules in which the components are written, whose code is in the keys of the stages that use them."""
        values = [getattr(self, name) for name in components]
        return [value.split(":")[0] for value in values if isinstance(value, str) and ":" in value]


def named(part: str) -> Any:
    """Import and return what `module:attribute` names."""
    module, _, attribute = part.partition(":")
    return getattr(import_module(module), attribute)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(leaf) for name, leaf in value.items()}
    return [_jsonable(leaf) for leaf in value] if isinstance(value, tuple | list) else value
