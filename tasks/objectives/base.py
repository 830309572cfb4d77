"""The definition of a task type."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from tasks.config import RunConfig
from tasks.config.json_types import JsonObject
from tasks.data.rows.columns import Role
from tasks.objectives.metrics import Metric, installed_metrics

TAUGHT = tuple(f"AutoModelFor{kind}" for kind in ("SequenceClassification", "TokenClassification", "QuestionAnswering",
                                                  "Seq2SeqLM", "CausalLM", "MaskedLM"))  # fmt: skip
PART = re.compile(r"[\w.]+:\w+")  # module:attribute


@dataclass(frozen=True)
class Objective:
    """A task type, as names of its components (`module:attribute`), so that listing tasks needs no imports.

    Attributes:
        name: the task as users write it. `aliases` are other common names.
        roles: the columns its rows may have.
        prepare: rows as read -> checked, split rows and head (`tasks.data`).
        encode: rows -> token columns (`tasks.data`); `shape` names the fields of `data` it reads.
        gather: all token rows of a split -> the rows a model sees, for language models that merge texts.
        view: token rows -> the rows of a loader, if they change from epoch to epoch (masking).
        collate: rows -> padded batch.
        trainer: the class that trains, a `FinetuneTrainer`.
        loss: `(model, batch, **options) -> (loss, outputs)` to replace the model's own, a mean over the micro-batch.
        options: the fields of the section `preference` that the task reads, given to `loss` and `predictor`.
        rl_options: the fields of the section `rl` that the task reads, given to `loss` and `predictor`; if there are
            any, its `trainer` is a `RolloutTrainer`.
        loss_types: the values of `preference.loss_type` that it knows; `reference_free` those that need no reference.
        reference: `(model, batch) -> tensor (rows, values)` of the model as it is before training, computed once and
            given with each row as `reference`.
        cross_entropy: what the model's own loss is a cross-entropy over, with the classes in `labels`: one class (or
            several) for each of the `rows`, for each of the `tokens`, tokens of the `vocabulary`, or of the vocabulary
            for the `next_token`; None for other losses. Label smoothing and methods that replace the loss need it.
        auto_model: the `transformers` auto class with its head, or one of our classes (`module:attr`).
        peft_task_type: peft's `TaskType`.
        predictor: batch -> one predictions row a data row (`tasks.evaluation`).
        scorer: head -> the scorer of its predictions (`tasks.evaluation.score.Scorer`).
        metrics: what `scorer` returns, best known first; with `answers` also `exact_match`. If they depend on the rows,
            `metrics_by_problem` has their names by transformers' `problem_type`.
        pipeline_tag: the hub's name of the task; empty if it has none.
        sample: Python for what an example of usage gives a pipeline, if that is not a text.
        loss_ignores_num_items: the model's loss is a mean over the micro-batch. The Trainer must then divide it by
            the accumulation steps itself, which transformers 5.23 leaves out for forwards with `**kwargs`.
        inference_rows: rows as read -> rows for inference, and notices for the user (`tasks.data.rows.inference_rows`).
        inference: other components for unlabelled rows: `encode`, `view`, `collate`, `predictor`.
        ends: `(tokenizer, the base's generation config) -> fields that end texts where training taught it to`; None if
            training does not change where texts end.
        answers: the column of its rows with conversations whose last answer is a reference for generated ones, for
            `train.predict_with_generate` after training; None for tasks without such answers.
        samples: writes what the base and the trained model answer to `eval.samples` rows; None for tasks without
            answers.
        needs: what the tokenizer must have: `fast`, `mask_token`, `cls_token`.
        defaults: dotted config field -> value by common practice; `lora_defaults` take precedence when an adapter is
            trained.
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
    metrics: tuple[Metric, ...]
    pipeline_tag: str
    loss_ignores_num_items: bool
    inference_rows: str
    inference: Mapping[str, str] = field(default_factory=dict)
    metrics_by_problem: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gather: str | None = None
    sample: str = ""
    trainer: str = "tasks.training.trainer:FinetuneTrainer"
    loss: str | None = None
    options: tuple[str, ...] = ()
    rl_options: tuple[str, ...] = ()
    loss_types: tuple[str, ...] = ()
    reference: str | None = None
    reference_free: tuple[str, ...] = ()
    cross_entropy: str | None = None
    view: str = "tasks.data.tokens.dataset:TokenRows"
    ends: str | None = None
    answers: str | None = None
    samples: str | None = None
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    lora_defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained_classes(self) -> str | None:
        """`cross_entropy`; None if the task has a loss of its own."""
        return None if self.loss else self.cross_entropy

    @property
    def supervised(self) -> bool:
        """Whether a model and a batch of token rows are all that its loss depends on."""
        return not (self.reference or self.rl_options or ":" in self.auto_model)

    @property
    def generates_in_training(self) -> bool:
        """Whether evaluations during training generate texts too, so that a training depends on how."""
        return "train.predict_with_generate" in self.defaults

    @property
    def generates(self) -> bool:
        """Whether a trained model predicts by generating texts."""
        return getattr(named(self.inference.get("predictor", self.predictor)), "generates", False)

    @property
    def rewarding(self) -> str | None:
        """What rewards answers, for tasks that learn from rewards."""
        return "tasks.evaluation.reward_model:judging" if self.rl_options else None

    @property
    def comparing(self) -> str | None:
        """What adds the answers before training to predictions, for tasks that learn from rewards."""
        return "tasks.evaluation.before_training:add_before" if self.rl_options else None

    @property
    def generating(self) -> str | None:
        """What generates and scores answers, for tasks whose rows have `answers`."""
        return "tasks.evaluation.answers:score_generated" if self.answers else None

    @property
    def forgetting(self) -> str | None:
        """What measures forgetting, for causal language models."""
        return "tasks.evaluation.forgetting:forgotten" if self.auto_model == "AutoModelForCausalLM" else None

    @property
    def answering(self) -> str | None:
        """What computes a teacher's answers to training rows, for tasks that can learn from them."""
        known = self.loss is None and self.auto_model in TAUGHT
        return "tasks.evaluation.predictors.teacher:TeacherPredictor" if known else None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of `metrics`."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def greater_is_better(self) -> dict[str, bool]:
        """The metrics of which less is better, with `False`."""
        return {metric.name: False for metric in self.metrics if not metric.greater_is_better}

    def loss_options(self, run: RunConfig) -> JsonObject:
        """Return the fields of `preference` and `rl` that the task reads, except `win_rate`, which training does not
        depend on, and the reward model's name, whose bytes are an artifact."""
        given = {name: getattr(run.preference, name) for name in self.options}
        return given | {
            name: getattr(run.rl, name) for name in self.rl_options if name not in ("reward_model", "win_rate")
        }

    def metric(self, name: str | None) -> Metric | None:
        """Return the task's metric of this name, or that of another package; None if there is none."""
        ours = next((metric for metric in self.metrics if metric.name == name), None)
        return ours or installed_metrics().get(name or "")

    def is_upward(self, name: str, given: bool | None = None) -> bool:
        """Whether more of a metric is better: as `given` by the user, else as defined, else true."""
        metric = self.metric(name) if given is None else None
        return metric.greater_is_better if metric else given is not False

    def component(self, name: str) -> Any:
        """Import and return a component; None if the task has none."""
        return named(value) if (value := getattr(self, name)) else None

    def describe(self, components: tuple[str, ...]) -> JsonObject:
        """Name and components as JSON, for a key."""
        return {name: _jsonable(getattr(self, name)) for name in ("name", *components)}

    def modules(self, components: tuple[str, ...]) -> list[str]:
        """Return the modules of the components, whose code is part of the keys of the stages that use them."""
        values = [getattr(self, name) for name in components]
        return [value.split(":")[0] for value in values if isinstance(value, str) and PART.fullmatch(value)]


def named(part: str) -> Any:
    """Import and return `module:attribute`."""
    module, _, attribute = part.partition(":")
    return getattr(import_module(module), attribute)


def _jsonable(value: object) -> Any:
    if isinstance(value, Role):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: _jsonable(leaf) for name, leaf in value.items()}
    return [_jsonable(leaf) for leaf in value] if isinstance(value, tuple | list) else value
