"""The definition of a training method, without importing torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from tasks.config import RunConfig
from tasks.config.sections.section import Section

if TYPE_CHECKING:
    import torch

    from tasks.training.hooks import TrainingHook


class Task(Protocol):
    """What methods read of a task (`tasks.objectives.base.Objective`)."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def answering(self) -> str | None:
        """What computes a teacher's answers; None for tasks whose loss has no use for them."""
        ...

    @property
    def auto_model(self) -> str:
        """The class of its models: transformers' auto class, or `module:attribute`."""
        ...

    @property
    def rl_options(self) -> Sequence[str]:
        """The fields of the section `rl` that it reads; empty for tasks that do not learn from rewards."""
        ...

    @property
    def trained_classes(self) -> str | None:
        """What the loss is a cross-entropy over: see `Objective.cross_entropy`; None for other losses."""
        ...


@dataclass(frozen=True)
class TrainLabels:
    """The labels of the training rows.

    Attributes:
        names: of the classes, in the order of their ids. problem_type: transformers'.
        counts: labelled rows (tokens, where each token has a class) of each class; None before they are tokenized.
        rows: number of training rows, after tokenization.
        warn: shows a line to the user.
    """

    names: Sequence[str]
    problem_type: str | None
    counts: Sequence[int] | None = None
    rows: int = 0
    warn: Callable[[str], None] = print

    @property
    def several(self) -> bool:
        """Whether a row may have several labels."""
        return self.problem_type == "multi_label_classification"


@dataclass(frozen=True)
class Method:
    """An optional training method, added to plain fine-tuning.

    Attributes:
        name: as users write it under `methods`.
        summary: one sentence, for the JSON Schema and the README.
        options: the section of its options; a single value sets the field that `options.bare` names.
        hook: `module:attribute` of its `tasks.training.hooks.TrainingHook`.
        defaults: dotted config field -> the value it needs, unless the user sets that field.
        check: yields why a config cannot use these options, each as `<field>: <reason>`: a task for which the method
            has no meaning, a setting that contradicts it. Called when the config is resolved, before anything is read.
        fit: for methods that depend on labels: returns the options as planned, with values for each class; raises
            `ConfigError` for labels that do not exist. Called once the rows are read, and again when they are
            tokenized; what it then returns is in `plan.json` and is what the hook gets.
        unkeyed: options that are not in the keys of stages: names of models, whose bytes are, and limits.
        averages: whether its hook's `loss` needs a mean over the micro-batch where the model's own loss is divided by
            the items of a step (causal language models); `denominator` then weights micro-batches.
    """

    name: str
    summary: str
    options: type[Section]
    hook: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any], RunConfig, Task], Iterable[str]] | None = None
    fit: Callable[[Mapping[str, Any], TrainLabels], Mapping[str, Any]] | None = None
    unkeyed: tuple[str, ...] = ()
    averages: bool = False

    @property
    def module(self) -> str:
        """Return the module whose code is in the key of a training with this method."""
        return self.hook.partition(":")[0]

    def make(self, options: Mapping[str, Any], model: "torch.nn.Module", plan: Mapping[str, Any]) -> "TrainingHook":
        """Return its hook for one training."""
        return getattr(import_module(self.module), self.hook.partition(":")[2])(options, model, plan)
