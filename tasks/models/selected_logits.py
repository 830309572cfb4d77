"""Logits of chosen positions only: of most tokens none are needed, and logits (tokens x vocabulary) are the largest
tensor of a training with small models and large vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.config.errors import ConfigError

if TYPE_CHECKING:
    import torch


class NoOutputLayer(ConfigError):
    """A model does not compute its logits with the module that `get_output_embeddings` returns."""


def labelled(labels: torch.Tensor, next_token: bool) -> torch.Tensor:
    """Return which positions' logits a loss reads, as booleans of the shape of `labels`.

    Args:
        labels: of tokens, -100 where there is none. next_token: whether a label belongs to the token before.
    """
    from torch.nn.functional import pad

    return (pad(labels, (0, 1), value=-100)[:, 1:] if next_token else labels) != -100


def answered(batch: Mapping[str, Any], kind: str | None) -> torch.Tensor:
    """Return the positions of a batch at which models are compared, as booleans of shape (rows, tokens): labelled ones,
    or of tasks without labels for tokens all but padding.

    Args:
        kind: what the loss is a cross-entropy over (see `Objective.cross_entropy`).
    """
    if kind in ("rows", None):
        return batch["attention_mask"].bool()
    return labelled(batch["labels"], kind == "next_token")


def last_hidden_states(outputs: Any, positions: torch.Tensor) -> torch.Tensor:
    """Return the last layer's hidden states at these positions, shape (positions, width): of encoder-decoder models the
    decoder's; vectors that an adapter puts before the tokens are left out."""
    states = (getattr(outputs, "decoder_hidden_states", None) or outputs.hidden_states)[-1]
    return states[:, -positions.shape[1] :][positions]


def selected_logits(model: Any, inputs: Mapping[str, Any], positions: torch.Tensor) -> Any:
    """Return the model's outputs, with logits of shape (1, positions, vocabulary).

    Args:
        inputs: of the model's `forward`. positions: booleans of shape (rows, tokens). Vectors that an adapter puts
            before the tokens are left out.

    Raises:
        NoOutputLayer: the logits of single positions cannot be computed.
    """
    from torch.nn.functional import pad

    def select(module: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = arguments[0]
        if hidden.ndim != 3 or hidden.shape[0] != len(positions) or hidden.shape[1] < positions.shape[1]:
            return arguments
        known = pad(positions, (hidden.shape[1] - positions.shape[1], 0), value=False)
        return (hidden[known][None], *arguments[1:])

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        raise _unknown(model)
    with head.register_forward_pre_hook(select):
        outputs = model(**inputs)
    if outputs.logits.shape[:2] != (1, int(positions.sum())):
        raise _unknown(model)
    return outputs


def completion_log_probs(model: Any, inputs: Mapping[str, Any], mask: torch.Tensor) -> torch.Tensor:
    """Return the log-probability (nats, float32) of each row's marked tokens given those before them, shape (rows,).

    Args:
        inputs: `input_ids` and `attention_mask`. mask: shape (rows, tokens), 1 for the tokens that are scored.
    """
    import torch
    from torch.nn.functional import cross_entropy, pad

    scored = pad(mask.bool(), (0, 1), value=False)[:, 1:]  # a token's logits are those of the token before it
    ids = pad(inputs["input_ids"], (0, 1))[:, 1:][scored]
    logits = selected_logits(model, inputs, scored).logits[0].float()
    found = -cross_entropy(logits, ids, reduction="none")
    rows = torch.zeros(len(mask), device=found.device, dtype=found.dtype)
    return rows.index_add(0, scored.nonzero()[:, 0], found)


def _unknown(model: Any) -> NoOutputLayer:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return NoOutputLayer(f"{type(inner).__name__} does not compute its logits with the layer of its "
                         "get_output_embeddings")  # fmt: skip
