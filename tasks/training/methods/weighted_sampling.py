"""Weighted sampling: rows of rare classes are drawn more often.

A class with n rows is drawn with a probability in proportion to n^alpha: 0 draws all classes equally often, 1 all rows
equally often. The exponent is that of multilingual language models, for languages (Conneau and Lample 2019,
arXiv:1901.07291, 3.1: 0.5; Conneau et al. 2020, arXiv:1911.02116: 0.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.sections.section import NO_BOOL, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task, TrainLabels
from tasks.training.methods.by_class import only_classes, refuse_numbers

if TYPE_CHECKING:
    from tasks.data.tokens.dataset import TokenRows

NAME = "weighted_sampling"
ORDER = "train.train_sampling_strategy"


class WeightedSampling(Section):
    """Options. `weighted_sampling: 0.5` is short for `{alpha: 0.5}`."""

    bare: ClassVar[str] = "alpha"

    alpha: Annotated[float, Field(ge=0, le=1), NO_BOOL] = Field(
        default=0.0,
        description="A class with n rows is drawn in proportion to n^alpha: 0 draws all classes equally often, 1 all "
        "rows.",
    )


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use weighted sampling."""
    yield from only_classes(NAME, task, "rows")
    if (order := config.train.train_sampling_strategy) != "random":
        yield f"{ORDER}: {order} contradicts methods.{NAME}, which draws rows at random; leave one of the two out"


def fit(options: Mapping[str, Any], labels: TrainLabels) -> Mapping[str, Any]:
    """Return the options.

    Raises:
        ConfigError: rows have several labels, or numbers.
    """
    refuse_numbers(f"methods.{NAME}", labels)
    if labels.several:
        raise ConfigError(f"methods.{NAME}: is for rows with one label each, and these rows have several labels; set "
                          "methods.class_weights, or leave it out")  # fmt: skip
    return options


class DrawsByClass:
    """Draws as many rows as there are, with replacement: first a class, then one of its rows, each from torch's global
    generator, whose state at the start of an epoch is in checkpoints.

    Args:
        labels: class ids, one a row. alpha: see `WeightedSampling`.
    """

    def __init__(self, labels: np.ndarray, alpha: float) -> None:
        self.rows = np.argsort(labels, kind="stable")  # by class
        self.counts = np.unique(labels, return_counts=True)[1]
        self.starts = np.cumsum(self.counts) - self.counts
        self.weights = self.counts.astype(np.float64) ** alpha

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        import torch

        # in float64 and without torch.multinomial, which is limited to 2^24 classes and to float32 sums
        draws = torch.rand(2, len(self), dtype=torch.float64).numpy()
        limits = np.cumsum(self.weights)
        classes = np.searchsorted(limits / limits[-1], draws[0], side="right")
        within = (draws[1] * self.counts[classes]).astype(np.int64)
        return iter(self.rows[self.starts[classes] + within].tolist())


class ByClass(TrainingHook):
    """Draws the rows of each epoch by their class."""

    def sampler(self, rows: TokenRows) -> DrawsByClass:
        """Return the sampler of the training rows."""
        return DrawsByClass(rows.table["labels"].to_numpy(), self.options["alpha"])


WEIGHTED_SAMPLING = Method(
    name=NAME,
    summary="Rows of rare classes are drawn more often (text classification).",
    options=WeightedSampling,
    hook="tasks.training.methods.weighted_sampling:ByClass",
    defaults={ORDER: "random"},
    check=check,
    fit=fit,
)
