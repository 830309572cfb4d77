"""Class weights: errors in rare classes count more.

`balanced` follows King and Zeng 2001 ("Logistic Regression in Rare Events Data") as scikit-learn's
`compute_class_weight` does; for rows with several labels, `pos_weight` of torch's `BCEWithLogitsLoss`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tasks.config import RunConfig
from tasks.config.sections.section import Section
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task, TrainLabels
from tasks.training.methods.by_class import BALANCED, ByClass, in_order, only_classes, refuse_numbers

if TYPE_CHECKING:
    import torch

NAME = "class_weights"


class ClassWeights(Section):
    """Options. `class_weights: balanced` is short for `{weights: balanced}`."""

    bare: ClassVar[str] = "weights"

    weights: ByClass = Field(
        default=BALANCED,
        description="balanced: by the counts of the training rows, n / (classes * count), or if rows have several "
        "labels, rows without the label / rows with it. Or {label: weight}, 1 for labels left out; or a list in the "
        "order of the classes.",
    )


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use class weights."""
    yield from only_classes(NAME, task, "rows", "tokens")


def fit(options: Mapping[str, Any], labels: TrainLabels) -> Mapping[str, Any]:
    """Return the options with `weights` as a list.

    Raises:
        ConfigError: labels that do not exist; a regression.
    """
    refuse_numbers(f"methods.{NAME}", labels)
    return {**options, "weights": in_order(options["weights"], labels, f"methods.{NAME}.weights")}


class WeightedCrossEntropy(TrainingHook):
    """Replaces the loss by the weighted cross-entropy, with `train.label_smoothing_factor` as in torch's.

    The mean is torch's, sum(w · loss) / sum(w), over all rows (labelled tokens) of an optimizer step, so it does not
    depend on how a step is divided into micro-batches. If rows have several labels, weights only apply to the labels a
    row has, and the mean is over all rows and labels, as in torch's `BCEWithLogitsLoss`. The loss of an evaluation is
    unweighted.
    """

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the weighted loss of a micro-batch."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        logits, labels = outputs.logits.float(), inputs["labels"]
        weights = self._weights(logits)
        if labels.is_floating_point():
            return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), pos_weight=weights)
        smoothing = self.plan["arguments"].get("label_smoothing_factor") or 0.0
        return cross_entropy(logits.flatten(0, -2), labels.flatten(), weights, label_smoothing=smoothing)

    def denominator(self, inputs: Mapping[str, Any]) -> float | None:
        """Return the sum of the weights; None for a mean over rows and labels."""
        labels = inputs["labels"]
        if labels.is_floating_point():
            return None
        return float(self._weights(labels)[labels[labels != -100]].double().sum())

    def _weights(self, like: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.tensor(self.options["weights"], dtype=torch.float32, device=like.device)


CLASS_WEIGHTS = Method(
    name=NAME,
    summary="Errors in rare classes count more, by weights of classes (text and token classification).",
    options=ClassWeights,
    hook="tasks.training.methods.class_weights:WeightedCrossEntropy",
    check=check,
    fit=fit,
)
