"""Distillation: the model learns the answers of a larger or better one beside the labels.

Hinton et al. 2015 (arXiv:1503.02531): loss = (1 - α) · CE(labels) + α · T² · KL(teacher ‖ student), both softened by
the temperature T. As in txtai's trainer, the divergence is a mean over the batch. The teacher's answers to the training
rows are computed once (`tasks.s08b_teacher_answers`) and shared by all trainings on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.config.sections.section import NO_BOOL, PathText, Section
from tasks.models.selected_logits import answered, labelled, last_hidden_states
from tasks.training.hooks import TrainingHook
from tasks.training.methods.base import Method, Task

if TYPE_CHECKING:
    import torch

    from tasks.data.tokens.dataset import TokenRows

NAME, ANSWERS = "distillation", "teacher_answers"
OTHER_MEANS = ("class_weights", "focal_loss")
PADDED = -1e4  # logit of a position that does not exist


class Distillation(Section):
    """Options. `distillation: PATH` is short for `{teacher: PATH}`."""

    bare: ClassVar[str] = "teacher"

    teacher: PathText = Field(
        min_length=1,
        description="A model trained for the same task, with the same tokenizer and classes: the folder of an earlier "
        "run, or a model of the hub.",
    )
    temperature: Annotated[float, NO_BOOL] = Field(
        default=2.0, gt=0, description="Softens both distributions; higher shows more of how the teacher ranks classes."
    )
    alpha: Annotated[float, NO_BOOL] = Field(
        default=0.5, ge=0, le=1, description="Weight of the teacher's answers; the labels have 1 - alpha."
    )
    top_k: Annotated[int, NO_BOOL] = Field(
        default=64, ge=1,
        description="Of language models: how many of the teacher's likeliest tokens are kept for each position; the "
        "others are one more class, with the rest of the probability.",
    )  # fmt: skip
    hidden_states: Annotated[float, NO_BOOL] = Field(
        default=0.0, ge=0,
        description="Weight of the cosine distance between the last hidden states of both, if they are equally wide; "
        "0: they are not compared.",
    )  # fmt: skip
    max_gb: Annotated[float, NO_BOOL] = Field(
        default=10.0, gt=0, description="Refuse if the teacher's answers would need more gigabytes in the store."
    )


def check(options: Mapping[str, Any], config: RunConfig, task: Task) -> Iterable[str]:
    """Yield why the config cannot use it."""
    if task.answering is None:
        yield (f"methods.{NAME}: {task.name} has a loss without a counterpart for a teacher's answers; it is for "
               "classification, regression, tags, question-answering, sequence-sequence, sft and language models; "
               "leave it out")  # fmt: skip
    if other := next((name for name in OTHER_MEANS if name in config.methods), None):
        yield (f"methods.{NAME}: methods.{other} averages the labels' loss by weights, the teacher's has none; leave "
               "one of the two out")  # fmt: skip


def refuse_large(size: int, max_gb: float) -> None:
    """Raise ConfigError if the teacher's answers, of so many bytes, are larger than the limit."""
    if size > max_gb * 1e9:
        raise ConfigError(f"methods.{NAME}.max_gb: the teacher's answers would need {size / 1e9:,.3g} GB in the store, "
                          f"more than {max_gb:g}; use fewer rows or epochs, a lower top_k, or raise the "
                          "limit")  # fmt: skip


class TaughtByAnswers(TrainingHook):
    """Adds the divergence from the teacher's answers to the loss of training batches. The loss of an evaluation is that
    of the labels."""

    columns: Sequence[str] = ("teacher_values", "teacher_ids", "teacher_states")

    @property
    def model_inputs(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Hidden states are returned if they are compared."""
        return {"output_hidden_states": True} if self.options["hidden_states"] else {}

    def rows(self, rows: TokenRows) -> TokenRows:
        """Return the training rows with the teacher's answers."""
        from tasks.data.tokens.answered import AnsweredRows

        return AnsweredRows(rows, self.artifacts[ANSWERS])

    def collate(self, collate: Callable[..., Any]) -> Callable[..., Any]:
        """Return a collator that also joins the answers of a batch."""
        from tasks.data.tokens.answered import WithAnswers

        return WithAnswers(collate, self.columns)

    def loss(self, loss: torch.Tensor, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the loss of labels and teacher."""
        alpha, weight = self.options["alpha"], self.options["hidden_states"]
        loss = (1 - alpha) * loss + alpha * self._divergence(inputs, outputs)
        return loss + weight * self._distance(inputs, outputs) if weight else loss

    def _distance(self, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        """Return the mean cosine distance of hidden states (Sanh et al. 2019, arXiv:1910.01108)."""
        from torch.nn.functional import cosine_similarity

        ours = last_hidden_states(outputs, answered(inputs, self.plan["cross_entropy"])).float()
        return 1 - cosine_similarity(ours, inputs["teacher_states"].view(len(ours), -1).float(), dim=-1).mean()

    def denominator(self, inputs: Mapping[str, Any]) -> float | None:
        """Return the number of positions that both losses are means over; None: rows."""
        kind = self.plan["cross_entropy"]
        return None if kind in ("rows", None) else float(labelled(inputs["labels"], kind == "next_token").sum())

    def _divergence(self, inputs: Mapping[str, Any], outputs: Any) -> torch.Tensor:
        kind, temperature, taught = self.plan["cross_entropy"], self.options["temperature"], inputs["teacher_values"]
        if "start_logits" in outputs:
            return span_divergence(outputs, taught, inputs["attention_mask"].bool(), temperature)
        logits = outputs.logits
        if kind in ("rows", None):
            return row_divergence(logits, taught, inputs["labels"], temperature)
        if "labelled_logits" in self.plan["methods"]:
            logits = logits[0]
        else:  # an adapter may have put vectors before the tokens
            known = labelled(inputs["labels"], kind == "next_token")
            logits = logits[:, -known.shape[1] :][known]
        if kind == "tokens":
            return divergence(logits, taught.view(len(logits), -1), temperature)
        k = len(taught) // max(len(logits), 1)
        return top_divergence(logits, taught.view(-1, k), inputs["teacher_ids"].view(-1, k), temperature)


def divergence(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T² · KL(teacher ‖ student), a mean over the rows.

    Args:
        logits, taught: of student and teacher, shape (rows, classes).
    """
    from torch.nn.functional import kl_div, log_softmax

    ours, theirs = log_softmax(logits.float() / temperature, -1), log_softmax(taught.float() / temperature, -1)
    return kl_div(ours, theirs, reduction="sum", log_target=True) / max(len(logits), 1) * temperature**2


def row_divergence(
    logits: torch.Tensor, taught: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the divergence for one class a row; for several labels a row that of each label's Bernoulli distribution,
    a mean over rows and labels; for numbers the mean squared difference."""
    from torch.nn.functional import logsigmoid, mse_loss

    taught = taught.view(len(logits), -1)
    if not labels.is_floating_point():
        return divergence(logits, taught, temperature)
    if labels.ndim == 1 or labels.shape != logits.shape:
        return mse_loss(logits.float().squeeze(-1), taught.squeeze(-1))
    ours, theirs = logits.float() / temperature, taught / temperature
    p = theirs.sigmoid()
    each = p * (logsigmoid(theirs) - logsigmoid(ours)) + (1 - p) * (logsigmoid(-theirs) - logsigmoid(-ours))
    return each.mean() * temperature**2


def span_divergence(outputs: Any, taught: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean of the divergences of the start's and the end's distribution over a row's own tokens.

    Args:
        taught: both logits of each token, one row after another, shape (tokens · 2,). mask: shape (rows, width).
    """
    found = []
    for at, ours in enumerate((outputs.start_logits, outputs.end_logits)):
        theirs = ours.new_full(mask.shape, PADDED, dtype=taught.dtype)
        theirs[mask] = taught.view(-1, 2)[:, at]
        found.append(divergence(ours.masked_fill(~mask, PADDED), theirs, temperature))
    return (found[0] + found[1]) / 2


def top_divergence(logits: torch.Tensor, taught: torch.Tensor, ids: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T² · KL between the distributions over the teacher's likeliest tokens and all others as one more class: a
    lower bound of the divergence over the vocabulary, equal to it if these are all.

    Args:
        logits: of the student, shape (positions, vocabulary). taught: the teacher's log-probabilities at this
            temperature (nats), and `ids` their tokens, shape (positions, k).
    """
    import torch

    ours = torch.log_softmax(logits.float() / temperature, -1).gather(-1, ids)
    p = taught.exp()
    total = (p * (taught - ours)).sum()
    if ids.shape[-1] < logits.shape[-1]:
        tiny = torch.finfo(torch.float32).eps
        rest, left = (1 - p.sum(-1)).clamp(min=tiny), (1 - ours.exp().sum(-1)).clamp(min=tiny)
        total = total + (rest * (rest.log() - left.log())).sum()
    return total / max(len(logits), 1) * temperature**2


DISTILLATION = Method(
    name=NAME,
    summary="Learn the answers of a trained model, the teacher, beside the labels.",
    options=Distillation,
    hook="tasks.training.methods.distillation:TaughtByAnswers",
    check=check,
    unkeyed=("teacher", "max_gb"),
    averages=True,
)
