"""Focal loss: rows that the model already gets right count less.

Lin et al. 2017 (arXiv:1708.02002): FL = -α (1 - p)^γ log p, where p is the probability of the right class: by softmax
for one label, as in its multi-class form; by sigmoid for each label if rows have several (the paper's own form, equal
to torchvision's `sigmoid_focal_loss`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.sections.section import NO_BOOL, NotNegative, Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task, TrainLabels
from tasks.training.methods.by_class import ByClass, in_order, only_classes, refuse_numbers

if TYPE_CHECKING:
    import torch

NAME = "focal_loss"


def _share_or_classes(value: object) -> object:
    if isinstance(value, int | float) and (isinstance(value, bool) or not 0 < value < 1):
        raise ValueError(f"{value!r} given; valid: a number between 0 and 1, balanced, a mapping {{label: number}}, or "
                         "a list with a number for each class")  # fmt: skip
    return value


Alpha = Annotated[float | ByClass | None, BeforeValidator(_share_or_classes)]


class FocalLoss(Section):
    """Options. `focal_loss: 2.0` is short for `{gamma: 2.0}`."""

    bare: ClassVar[str] = "gamma"

    gamma: Annotated[NotNegative, NO_BOOL] = Field(
        default=2.0, description="How much less easy rows count; 0: plain cross-entropy."
    )
    alpha: Alpha = Field(
        default=None,
        description="If rows have several labels: a number in (0, 1) that labels a row has are multiplied by, those it "
        "lacks by 1 - alpha. Else weights of classes, as methods.class_weights.weights. Omit: all count alike.",
    )


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use the focal loss."""
    yield from only_classes(NAME, task, "rows", "tokens")
    if "class_weights" in config.methods:
        yield f"methods.{NAME}: has weights of classes of its own; set alpha instead of methods.class_weights"
    if config.train.label_smoothing_factor:
        yield (f"train.label_smoothing_factor: {config.train.label_smoothing_factor:g} with methods.{NAME}, which is "
               "defined for labels that are not smoothed; leave one of the two out")  # fmt: skip


def fit(options: Mapping[str, Any], labels: TrainLabels) -> Mapping[str, Any]:
    """Return the options with `alpha` as a list of weights, or as a number if rows have several labels.

    Raises:
        ConfigError: labels that do not exist; the other form of `alpha`; a regression.
    """
    field, alpha = f"methods.{NAME}.alpha", options["alpha"]
    refuse_numbers(f"methods.{NAME}", labels)
    if alpha is None:
        return options
    if labels.several:
        if not isinstance(alpha, float):
            raise ConfigError(f"{field}: {alpha!r} given, but these rows have several labels each; valid: a number "
                              "between 0 and 1")  # fmt: skip
        return options
    if isinstance(alpha, float):
        raise ConfigError(f"{field}: {alpha:g} given, but these rows have one label each; valid: balanced, "
                          "{label: number}, or a list with a number for each class")  # fmt: skip
    return {**options, "alpha": in_order(alpha, labels, field)}


class FocalCrossEntropy(TrainingHook):
    """Replaces the loss by the focal loss, a mean over the rows (labelled tokens; rows and labels, if rows have several
    labels), whatever their `alpha`. The loss of an evaluation is the plain one.
    """

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the focal loss of a micro-batch."""
        logits, labels = outputs.logits.float(), inputs["labels"]
        if labels.is_floating_point():
            return self._of_several(logits, labels.to(logits.dtype)).mean()
        return self._of_one(logits.flatten(0, -2), labels.flatten())

    def _of_one(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean; logits: (rows, classes), labels: (rows,), -100 where there is none."""
        known = labels != -100
        labels = labels[known]
        log_p = logits[known].log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
        losses = -log_p * self._ease(log_p.exp())
        if self.options["alpha"] is not None:
            losses = losses * losses.new_tensor(self.options["alpha"])[labels]
        return losses.mean()

    def _of_several(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row and label; labels: 0 or 1, (rows, classes)."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        p = logits.sigmoid()
        losses = losses * self._ease(p * labels + (1 - p) * (1 - labels))
        alpha = self.options["alpha"]
        return losses if alpha is None else losses * (alpha * labels + (1 - alpha) * (1 - labels))

    def _ease(self, p: torch.Tensor) -> torch.Tensor:
        """Return (1 - p)^γ, whose gradient is infinite at p = 1 for γ < 1, and zero with this bound."""
        return (1 - p).clamp(min=1e-30) ** self.options["gamma"]


FOCAL_LOSS = Method(
    name=NAME,
    summary="Rows that the model already gets right count less (text and token classification).",
    options=FocalLoss,
    hook="tasks.training.methods.focal_loss:FocalCrossEntropy",
    check=check,
    fit=fit,
)
