"""Gradual unfreezing: the head is trained first, then one more layer from the top in each phase.

Howard and Ruder 2018 (ULMFiT, arXiv:1801.06146, 3.3), where a phase is an epoch, with their discriminative learning
rates (3.2: each layer's rate is that of the layer above it divided by 2.6) as an option.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tasks.config.sections.section import NO_BOOL, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task
from tasks.training.methods.freeze import reentrant

if TYPE_CHECKING:
    from tasks.config import RunConfig

_EVERY = re.compile(r"(\d+(?:\.\d+)?)(?:\s*(epochs?|steps?))?")


def _duration(value: str | float) -> str:
    """Return a duration as `1 epoch`, `0.5 epochs` or `200 steps`; a number is one of epochs."""
    found = _EVERY.fullmatch(str(value).strip())
    number = float(found[1]) if found else 0.0
    unit = ((found and found[2]) or "epoch").removesuffix("s")
    if number <= 0 or not math.isfinite(number) or (unit == "step" and number != int(number)):
        raise ValueError(f"{value!r} given; valid: a number of epochs (1, 0.5, 2 epochs), or of steps (200 steps)")
    return f"{int(number) if number == int(number) else number} {unit}{'' if number == 1 else 's'}"


def _off_is_none(value: object) -> object:
    return None if value is False or value == "off" else value


Factor = Annotated[float, Field(ge=1), NO_BOOL]


class Unfreeze(Section):
    """Options. `unfreeze: 2` is short for `{every: 2 epochs}`."""

    bare: ClassVar[str] = "every"

    every: Annotated[str | int | float, AfterValidator(_duration), NO_BOOL] = Field(
        default="1 epoch",
        description="How long a phase is, after which the next group is trained too: epochs (1, 0.5 epochs), or "
        "optimizer steps (200 steps).",
    )
    order: Literal["top_down"] = Field(
        default="top_down", description="top_down: the head, then each layer from the top, the embeddings last."
    )
    discriminative: Annotated[Factor | None, BeforeValidator(_off_is_none)] = Field(
        default=None,
        description="The learning rate of each group divided by that of the next lower one, at least 1 (ULMFiT: 2.6, "
        "for 4 groups); the top group has train.learning_rate. Omit, or off: all have it.",
    )


class GradualUnfreezing(TrainingHook):
    """Trains one more group in each phase, from the top. Groups not trained yet have no gradients, and so no optimizer
    state and no weight decay; parameters that are frozen anyway stay so.

    Raises:
        ConfigError: the layers of the model's architecture are unknown.
    """

    def check(self) -> None:
        """Find the layers."""
        from tasks.models.layers import depths

        depths(self.model)

    def parameter_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Split `groups` by layer, lowest first."""
        from tasks.models.layers import depths
        from tasks.training.groups import by_depth

        split = by_depth(groups, depths(self.model)[0])
        tops = sorted({depth for depth, _ in split}, reverse=True)
        self.phases = [[each for depth, group in split if depth == top for each in group["params"]] for top in tops]
        rate, factor = self.plan["arguments"]["learning_rate"], self.options["discriminative"] or 1
        rates = {depth: {"lr": rate / factor ** (tops[0] - depth)} for depth in tops} if factor != 1 else {}
        starts = {depth: phase * self.steps for phase, depth in enumerate(tops)}
        return [{**rates.get(depth, {}), **group, "from_step": starts[depth]} for depth, group in split]

    @property
    def steps(self) -> int:
        """Return the optimizer steps of a phase."""
        number, unit = self.options["every"].split()
        each_epoch = 1 if unit.startswith("step") else self.plan["steps"]["steps_per_epoch"]
        return max(1, round(float(number) * each_epoch))

    def enter_step(self, step: int, epoch: float) -> None:
        """Set which groups are trained."""
        for phase, parameters in enumerate(self.phases):
            for each in parameters:
                each.requires_grad_(phase * self.steps <= step)

    def warnings(self) -> Sequence[str]:
        """Return that the training ends before everything is trained, if it does."""
        total, groups = self.plan["steps"]["total"], len(self.phases)
        never = groups - math.ceil(total / self.steps)
        if never <= 0:
            return ()
        most = (total - 1) // (groups - 1)
        shorter = f", or set methods.unfreeze.every: {most} step{'s' * (most > 1)}" if most else ""
        return [f"methods.unfreeze: the lowest {never} of {groups} groups (head, layers, embeddings) are never "
                f"trained: the training has {total} steps, and one more group is trained every {self.steps}; train "
                f"longer{shorter}"]  # fmt: skip


def _contradictions(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterator[str]:
    yield from reentrant("unfreeze", config)
    if options["discriminative"] is not None and "layerwise_lr_decay" in config.methods:
        yield ("methods.unfreeze.discriminative: methods.layerwise_lr_decay sets each layer's learning rate too; leave "
               "one of the two out")  # fmt: skip


UNFREEZE = Method(
    name="unfreeze",
    summary="The head is trained first, then one more layer from the top in each phase.",
    options=Unfreeze,
    hook="tasks.training.methods.unfreeze:GradualUnfreezing",
    check=_contradictions,
)
