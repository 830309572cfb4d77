"""L2-SP: weight decay towards the weights that the training starts from, instead of towards zero.

Li, Grandvalet and Davoine 2018 (arXiv:1802.01483): loss + weight / 2 · ‖θ - θ_start‖², over the trained parameters of
the body; a head is not held. θ_start is a copy in memory of the weights before the first step, also when the training
resumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tasks.config import RunConfig
from tasks.config.sections.section import NotNegative, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task
from tasks.training.methods.continual import only_supervised, only_whole_models, refuse_unknown_body, trained_body

if TYPE_CHECKING:
    import torch

NAME = "l2_to_start"


class L2ToStart(Section):
    """Options. `l2_to_start: 0.01` is short for `{weight: 0.01}`."""

    bare: ClassVar[str] = "weight"

    weight: NotNegative = Field(
        default=0.01,
        description="Half of this times the squared distance from the starting weights is added to the loss; 0: "
        "nothing.",
    )


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use it."""
    yield from only_supervised(NAME, config, task)
    yield from only_whole_models(NAME, config)


class HeldAtStart(TrainingHook):
    """Adds the squared distance from the starting weights.

    Raises:
        ConfigError: the model's body is not known, or nothing of it is trained.
    """

    def check(self) -> None:
        """Find the body."""
        refuse_unknown_body(NAME, self.model)

    def prepare(self) -> None:
        """Copy the trained weights of the body; a checkpoint is loaded later."""
        trained = trained_body(NAME, self.model).values() if self.options["weight"] else ()
        self._held = [(each, each.detach().clone()) for each in trained]

    def penalty(self) -> torch.Tensor | None:
        """Return weight / 2 · ‖θ - θ_start‖²."""
        if not self._held:
            return None
        self._held = [(each, start.to(each.device)) for each, start in self._held]
        distances = [(each.float() - start.float()).square().sum() for each, start in self._held]
        return self.options["weight"] / 2 * sum(distances)


L2_TO_START = Method(
    name=NAME,
    summary="The body's weights are held near those that the training starts from (L2-SP).",
    options=L2ToStart,
    hook="tasks.training.methods.l2_to_start:HeldAtStart",
    check=check,
)
