"""Elastic weight consolidation: weights that earlier tasks need are held near what they were.

Kirkpatrick et al. 2017 (arXiv:1612.00796): loss + ewc_lambda / 2 · Σ_tasks Σ_i F_i (θ_i - θ*_i)², where θ* are the
weights of the model that was trained for an earlier task, and F is the diagonal of the Fisher information there
(`tasks.s08c_fisher`), over the parameters of the body. The terms of several tasks add up; as a sum of parabolas is one
parabola, they need the memory of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.sections.section import Count, NotNegative, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task
from tasks.training.methods.continual import (
    PREVIOUS,
    PreviousTasks,
    numbered,
    only_supervised,
    only_whole_models,
    refuse_unknown_body,
    trained_body,
)

if TYPE_CHECKING:
    import torch

NAME, FISHER, CENTER = "ewc", "fisher.safetensors", "center.safetensors"


class Ewc(Section):
    """Options. `ewc: 1000` is short for `{ewc_lambda: 1000}`."""

    bare: ClassVar[str] = "ewc_lambda"

    ewc_lambda: NotNegative = Field(
        default=1000.0,
        description="How strongly the weights of earlier tasks are held; 0: not at all. It depends on the task by "
        "orders of magnitude: try 10, 1000 and 100000.",
    )
    samples: Count = Field(
        default=200, description="Training rows of each earlier task from which its Fisher information is estimated."
    )
    previous: PreviousTasks = Field(default=[], description=PREVIOUS)


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use it."""
    yield from only_supervised(NAME, config, task)
    yield from only_whole_models(NAME, config)


class Consolidated:
    """Σ_tasks F (θ - θ*)² of one parameter, as precision · (θ - mean)² + constant.

    Args:
        precision: F of the first task. mean: its θ*.

    Attributes:
        constant: a number that does not depend on θ.
    """

    def __init__(self, precision: torch.Tensor, mean: torch.Tensor) -> None:
        self.precision, self.mean, self.constant = precision, mean, 0.0

    def add(self, precision: torch.Tensor, mean: torch.Tensor) -> None:
        """Add a task's term, computed in float64."""
        import torch

        one, other, gap = self.precision.double(), precision.double(), mean.double() - self.mean.double()
        both = one + other
        share = torch.where(both > 0, other / both.clamp(min=torch.finfo(both.dtype).tiny), 0.0)
        self.constant += float((one * share * gap**2).sum())
        self.precision, self.mean = both.float(), (self.mean.double() + share * gap).float()

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the sum at these weights."""
        self.precision, self.mean = self.precision.to(weights.device), self.mean.to(weights.device)
        return (self.precision * (weights.float() - self.mean).square()).sum() + self.constant


class Elastic(TrainingHook):
    """Adds the terms of the earlier tasks.

    Raises:
        ConfigError: the model's body is not known; an earlier model has another one; nothing of it is trained.
    """

    def check(self) -> None:
        """Find the body."""
        refuse_unknown_body(NAME, self.model)

    def prepare(self) -> None:
        """Read what the earlier tasks need, a parameter at a time."""
        self._held: dict[str, Consolidated] = {}
        if not self.options["ewc_lambda"]:
            return
        self._trained = trained_body(NAME, self.model)
        for number, artifact in enumerate(numbered(self.artifacts, NAME)):
            self._add(artifact, f"methods.{NAME}.previous[{number}]")

    def _add(self, artifact: Any, field: str) -> None:
        from safetensors import safe_open

        with safe_open(artifact.path(FISHER), "pt") as fisher, safe_open(artifact.path(CENTER), "pt") as center:
            sizes = {name: tuple(fisher.get_slice(name).get_shape()) for name in fisher.keys()}  # noqa: SIM118
            self._refuse_other_body(sizes, field)
            for name in (each for each in self._trained if each in sizes):  # in a fixed order: so is the sum's
                precision, mean = fisher.get_tensor(name), center.get_tensor(name)
                if name in self._held:
                    self._held[name].add(precision, mean)
                else:
                    self._held[name] = Consolidated(precision, mean)

    def _refuse_other_body(self, theirs: Mapping[str, tuple[int, ...]], field: str) -> None:
        from math import prod

        from tasks.models.bodies import body_of

        ours = {name: tuple(each.shape) for name, each in body_of(self.model).named_parameters()}
        odd = next((name for name, shape in theirs.items() if ours.get(name, shape) != shape), None)
        if odd is not None:
            raise ConfigError(f"{field}: its {odd} has the shape {theirs[odd]}, that of the trained model {ours[odd]}; "
                              "both must come from one base")  # fmt: skip
        shared = sum(prod(shape) for name, shape in theirs.items() if name in ours)
        both, trained = len(theirs.keys() & ours.keys()), len(theirs.keys() & self._trained.keys())
        if shared * 2 < sum(map(prod, theirs.values())) or not trained:
            raise ConfigError(f"{field}: of its {len(theirs):,} parameters the trained model has only {both:,}, and "
                              f"trains {trained:,}; both must come from one base")  # fmt: skip

    def penalty(self) -> torch.Tensor | None:
        """Return ewc_lambda / 2 · Σ F (θ - θ*)²."""
        if not self._held:
            return None
        terms = [held(self._trained[name]) for name, held in self._held.items()]
        return self.options["ewc_lambda"] / 2 * sum(terms)


EWC = Method(
    name=NAME,
    summary="Weights that earlier tasks need are held near what they were (elastic weight consolidation).",
    options=Ewc,
    hook="tasks.training.methods.ewc:Elastic",
    check=check,
    unkeyed=("previous", "samples"),
)
