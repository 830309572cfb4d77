"""A method that pulls the weights towards where they began, trains the body from a step on, and counts."""

from typing import ClassVar

import torch

from tasks.config.sections.section import NotNegative, Section, WholeNotNegative
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method


class Options(Section):
    """Options."""

    bare: ClassVar[str] = "strength"
    strength: NotNegative = 0.1
    body_from: WholeNotNegative = 3


class Hook(TrainingHook):
    """A penalty, a phase, and a state that checkpoints carry."""

    def prepare(self) -> None:
        """Note where the weights begin."""
        self.seen = 0
        self.start = {name: each.detach().clone() for name, each in self.model.named_parameters()}

    def enter_step(self, step: int, epoch: float) -> None:
        """Until step `body_from` the head alone is trained."""
        self.seen += 1
        for name, each in self.model.named_parameters():
            each.requires_grad_(name.startswith("classifier") or step >= self.options["body_from"])

    def penalty(self) -> torch.Tensor:
        """The squared distance from the start, doubled with every step: it hangs on the state."""
        moved = [(each - self.start[name]).square().sum() for name, each in self.model.named_parameters()]
        return self.options["strength"] * self.seen * torch.stack(moved).sum()

    def state_dict(self):
        """What a resumed training cannot know otherwise."""
        return {"seen": self.seen, "start": self.start}

    def load_state_dict(self, state) -> None:
        """Go on counting."""
        self.seen, self.start = state["seen"], dict(state["start"])


def check(options, config, task):
    """A model of two parts has no one start."""
    if task.name == "token-detection":
        yield f"methods.pull: {task.name} trains two models; leave it out"


PULL = Method("pull", "Pulls the weights towards where they began.", Options, "their_task.pull:Hook", check=check)
