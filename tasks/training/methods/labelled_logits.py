"""Logits of labelled tokens only: the same loss from less memory, where most tokens have no label.

Of a masked language model's tokens 15 % have a label, of an instruction's those of the answer. The logits (tokens x
vocabulary) are the largest tensor of a training with small models and large vocabularies. As ModernBERT's
`sparse_prediction` (Warner et al. 2024, arXiv:2412.13663).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.sections.section import Section
from tasks.models.selected_logits import NoOutputLayer, selected_logits
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task

if TYPE_CHECKING:
    import torch

NAME = "labelled_logits"


class LabelledLogits(Section):
    """It has no options."""


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use it."""
    if task.trained_classes not in ("vocabulary", "next_token"):
        yield (f"methods.{NAME}: is for language models and sequence-sequence with the model's own loss, not for "
               f"{task.name}; leave it out")  # fmt: skip


class LabelledPositions(TrainingHook):
    """Applies the model's output layer to labelled positions only. Loss and gradients equal those of all positions up
    to float32 rounding (products of other shapes are summed in another order), so weights are not bit-identical to a
    training without it.
    """

    def forward(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], num_items: torch.Tensor | int | None
    ) -> tuple[torch.Tensor, Any]:
        """Return the loss and the outputs, with logits of shape (1, labelled tokens, vocabulary).

        Raises:
            ConfigError: the model does not compute its logits with the module that `get_output_embeddings` returns.
        """
        from torch.nn.functional import cross_entropy, pad

        labels = inputs["labels"]
        if self.plan["cross_entropy"] == "next_token":
            labels = pad(labels, (0, 1), value=-100)[:, 1:]
        known = labels != -100
        try:
            outputs = selected_logits(model, {name: each for name, each in inputs.items() if name != "labels"}, known)
        except NoOutputLayer as error:
            raise ConfigError(f"methods.{NAME}: {error}; leave it out") from error
        smoothing = self.plan["arguments"].get("label_smoothing_factor") or 0.0
        logits, reduction = outputs.logits[0].float(), "mean" if num_items is None else "sum"
        loss = cross_entropy(logits, labels[known], reduction=reduction, label_smoothing=smoothing)
        return loss if num_items is None else loss / num_items, outputs


LABELLED_LOGITS = Method(
    name=NAME,
    summary="Logits are computed for labelled tokens only: less memory (language models, sequence-sequence).",
    options=LabelledLogits,
    hook="tasks.training.methods.labelled_logits:LabelledPositions",
    check=check,
)
