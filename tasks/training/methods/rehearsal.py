"""Rehearsal: some rows of earlier tasks are trained on again (experience replay).

Robins 1995 (Connection Science 7(2)), Chaudhry et al. 2019 (arXiv:1902.10486): loss + weight · loss of old rows, for
which the trained body computes below the head of the earlier model. That head is frozen; if it is of the same kind and
for the same classes as the trained one, as language models' are, it is the trained one.

Each optimizer step draws as many old rows as it has new ones, of one earlier task: the tasks take turns. Their loss is
a mean over the step, as that of the new rows, so that 4 x 4 rows train like 1 x 16. What is drawn is a function of the
seed and the step (see `tasks.data.tokens.kept_rows`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from tasks.config import RunConfig
from tasks.config.sections.section import NO_BOOL, Count, NotNegative, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task
from tasks.training.methods.continual import PREVIOUS, PreviousTasks, numbered, only_supervised, refuse_unknown_body

if TYPE_CHECKING:
    import torch

    from tasks.training.old_rows import OldRows

NAME, MODEL = "rehearsal", "_model"


class Rehearsal(Section):
    """Options. `rehearsal: 0.1` is short for `{share: 0.1}`."""

    bare: ClassVar[str] = "share"

    share: Annotated[float, Field(gt=0, le=1), NO_BOOL] = Field(
        default=0.1,
        description="Share of the training rows of each earlier task that is kept and trained on again; classes keep "
        "their proportions.",
    )
    rows: Count | None = Field(
        default=None, description="How many rows of each earlier task are kept, in place of share. Omit: share."
    )
    weight: NotNegative = Field(
        default=1.0, description="Weight of the old rows' loss; that of the new rows is 1. 0: nothing is rehearsed."
    )
    previous: PreviousTasks = Field(default=[], description=PREVIOUS)

    @model_validator(mode="after")
    def _one_size(self) -> Rehearsal:
        if self.rows is not None and self.share != type(self).model_fields["share"].default:
            raise ValueError(f"rows {self.rows} and share {self.share:g} given; set only one of them")
        return self


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use it."""
    yield from only_supervised(NAME, config, task)
    if config.peft.virtual_tokens:
        yield (f"methods.{NAME}: peft.method: {config.peft.method} given, whose virtual tokens are trained for one "
               "task and take the place of tokens of old rows; use another method")  # fmt: skip


class Rehearsed(TrainingHook):
    """Adds the loss of old rows.

    Raises:
        ConfigError: the model's body is not known, or an earlier model has another one.
    """

    def check(self) -> None:
        """Find the body."""
        refuse_unknown_body(NAME, self.model)

    def prepare(self) -> None:
        """Load the earlier models' heads and the kept rows."""
        from tasks.training.old_rows import OldRows

        self._tasks: list[OldRows] = []
        if not self.options["weight"]:
            return
        pairs = zip(numbered(self.artifacts, NAME), numbered(self.artifacts, NAME, MODEL), strict=True)
        for number, (kept, base) in enumerate(pairs):
            field = f"methods.{NAME}.previous[{number}]"
            self._tasks.append(OldRows(kept, base, self.model, self.plan, field))

    def enter_step(self, step: int, epoch: float) -> None:
        """Choose the step's task and draw its rows."""
        self._terms = self._drawn(step) if self._tasks else None

    def _drawn(self, step: int) -> Iterator[torch.Tensor | None]:
        turn, number = divmod(step, len(self._tasks))
        return self._tasks[number].losses(turn, self.micro_batches)

    def penalty(self) -> torch.Tensor | None:
        """Return the weighted loss of the micro-batch's old rows."""
        term = next(self._terms) if self._terms is not None else None
        return None if term is None else self.options["weight"] * term


REHEARSAL = Method(
    name=NAME,
    summary="Some rows of earlier tasks are trained on again, below their own heads.",
    options=Rehearsal,
    hook="tasks.training.methods.rehearsal:Rehearsed",
    check=check,
    unkeyed=("previous", "rows", "share"),
)
