"""Memory of a training step's activations and logits, from sizes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tasks.config import RunConfig
from tasks.data.tokens.token_table import lengths_of, marked
from tasks.execution.sample import sampled
from tasks.objectives import objective_of

if TYPE_CHECKING:
    from tasks.models.count import Counts

SIDES = ("chosen", "rejected")
IGNORED = -100  # of a token without a label
MANY = 50_000  # rows


@dataclass(frozen=True)
class Batch:
    """The largest batch of a training.

    Attributes:
        rows: passed through the model, with gradients. width: tokens of the longest row. scored: tokens of all rows
            whose logits are computed.
    """

    rows: int
    width: int
    scored: int


def largest_batch(tokens: pa.Table, size: int, config: RunConfig) -> Batch:
    """Return the largest batch that `size` of these token rows can make.

    A pair is two rows, and has logits for its answers only; of KTO's pairs, the mismatched answer has no gradients.
    Of prompts, all answers are in it, at their longest. With `methods.labelled_logits`, labelled tokens have logits.
    Of very many rows, those are counted in a sample.
    """
    some = tokens if tokens.num_rows <= MANY else sampled(tokens)
    if "chosen_input_ids" in tokens.column_names:
        sides = SIDES[:1] if "desirable" in tokens.column_names else SIDES
        width = max(int(lengths_of(tokens, f"{side}_input_ids").max(initial=0)) for side in SIDES)
        scored = sum(marked(some, f"{side}_completion_mask", 0) for side in sides)
        return Batch(size * len(sides), width, _most(scored, size))
    width = int(lengths_of(tokens, "input_ids").max(initial=0))
    if objective_of(config.task).rl_options:
        answers, longest = size * (config.rl.num_generations or 1), config.rl.max_completion_length or 0
        return Batch(answers, width + longest, answers * longest)
    if "labelled_logits" not in config.methods:
        return Batch(size, width, size * width)
    if "labels" in tokens.column_names:
        return Batch(size, width, _most(marked(some, "labels", IGNORED), size))
    masked = objective_of(config.task).view.startswith("tasks.data.tokens.masking")
    return Batch(size, width, round(size * width * (config.data.mlm_probability or 1 if masked else 1)))


def _most(counts: Any, size: int) -> int:
    return int(np.sort(counts)[-size:].sum())


def activations(
    batch: Batch, plan: Mapping[str, Any], base: Mapping[str, Any], counts: "Counts", dropout: bool = True,
    precision: int = 4,
) -> int:  # fmt: skip
    """Return the bytes kept for the backward pass of one batch of the longest rows (Korthikanti et al. 2022, eq. 1, at
    the precision of the activations), and of what an adapter keeps of its inputs: the result of dropout in float32 and
    the mask (float32 on a CPU, else a byte); without dropout a copy in bf16, if that is not the weights' precision.

    With gradient checkpointing each layer's inputs are kept, and all of this of one layer only (Chen et al. 2016), with
    the gradients of its activations, which otherwise replace those of layers that are done.

    Args:
        precision: bytes of a number between layers, which is that of a weight.
    """
    width, layers, heads = base["hidden_size"], base["num_layers"], base["num_heads"] or 1
    if not (width and layers):
        return 0
    tokens, bf16 = batch.rows * batch.width, plan["arguments"].get("bf16")
    inner = tokens * width * (34 + 5 * heads * batch.width / width) / 2 * layers * (2 if bf16 else 4)
    dropped = 4 + (4 if plan["device"] == "cpu" else 1) if dropout else 2 if bf16 else 0
    inputs = tokens * counts.dropped * dropped
    if plan["arguments"].get("gradient_checkpointing"):
        return tokens * width * layers * precision + (2 * int(inner) + inputs) // layers
    return int(inner) + inputs


def logits(batch: Batch, base: Mapping[str, Any], counts: "Counts", rewarded: bool = False) -> int:
    """Return the bytes of a batch's logits in float32: with their gradient and the loss's copy.

    Args:
        rewarded: whether the entropy is computed too (`tasks.models.rollout.token_terms`): in place of the gradient,
            which comes later, probabilities, their logarithms and the product.
    """
    copies = 5 if rewarded else 3
    return batch.scored * counts.logits * copies * 4 if base["hidden_size"] and base["num_layers"] else 0
