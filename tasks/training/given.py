"""The components of a training: rows, collator, evaluator, hooks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tasks.data.tokens.dataset import TokenRows
from tasks.data.tokens.token_rows import scored_rows, tokens_of
from tasks.evaluation.opened import Opened
from tasks.evaluation.scoring import of_all_logits, while_training
from tasks.training.evaluator import Evaluator
from tasks.training.hooks import TrainingHook
from tasks.training.trainer import FinetuneTrainer, Loss


@dataclass(frozen=True)
class Given:
    """The components of a training, from the task and the training methods.

    Attributes:
        rows: to train on. evaluation: to evaluate on during training, or None.
        collate: rows -> batch. evaluator: how evaluation rows are scored.
        hooks: the training methods. trainer: the class that trains. loss: the objective's own loss, if it has one.
        more: arguments that the class needs besides.
    """

    rows: TokenRows
    evaluation: TokenRows | None
    collate: Callable[..., Any]
    evaluator: Evaluator
    hooks: Sequence[TrainingHook] = ()
    trainer: type[FinetuneTrainer] = FinetuneTrainer
    loss: Loss | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def components(
    component: Callable[[str], Any],
    plan: Mapping[str, Any],
    shards: Callable[[str], Mapping[str, Path]],
    head: Mapping[str, Any],
    processor: Mapping[str, Any],
    tokenizer: Callable[[], Any],
    evaluating: bool,
    hooks: Sequence[TrainingHook],
    warn: Callable[[str], None],
    judges: Mapping[str, Opened] | None = None,
) -> Given:
    """Import and assemble a task's components.

    Args:
        component: imports a component of the objective, by its field; None if it has none.
        shards: the files of a split's token rows, by name.
        tokenizer: reads the base's tokenizer, for predictors that need one.
        judges: `reward_model`, if answers are rewarded by one.
    """

    def rows(split: str, most: int | None = None) -> TokenRows:
        table = scored_rows(tokens_of(shards(split)), most)
        return component("view")(table, processor, plan["seed"], plan["options"])

    options, rewarding = plan["loss_options"], component("rewarding")
    rewards = rewarding(plan, judges or {}) if rewarding else None
    predictor = component("predictor")(
        head=head,
        processor=processor,
        tokenizer=tokenizer,
        generation=plan["arguments"],
        options=options,
        rewards=rewards,
    )
    loss, trained, collate = component("loss"), rows("train"), component("collate")(processor)
    for hook in hooks:
        trained, collate = hook.rows(trained), hook.collate(collate)
    score, whole = while_training(component("scorer")(head), plan, warn), of_all_logits(plan, warn)
    return Given(
        rows=trained,
        evaluation=rows("validation", plan["max_samples"]) if evaluating else None,
        collate=collate,
        evaluator=Evaluator(predictor, score, whole),
        hooks=hooks,
        trainer=component("trainer"),
        loss=partial(loss, **options) if loss else None,
        more={"tokenizer": tokenizer(), "rewards": rewards} if rewards else {},
    )
