"""Losses of models that learn from preferences, for training and evaluation alike.

The formulas are those of TRL's trainers with the same `loss_type`. A reward is `beta` times the log-ratio of the
trained and the reference model.

Sources: DPO (arXiv:2305.18290), IPO (2310.12036), SLiC's hinge (2309.06657), robust DPO (2403.00409), EXO (2402.00856),
NCA (2402.05369), BCO (2404.04656), SPPO (2405.00675), APO (2408.06266), SimPO (2405.14734), ORPO (2403.07691), KTO
(2402.01306); the reward model's loss: Bradley and Terry 1952, with a margin (Llama 2, 2307.09288) and centred rewards
(Eisenstein et al., 2312.09244).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.models.selected_logits import completion_log_probs

if TYPE_CHECKING:
    from torch import Tensor

    Options = Mapping[str, Any]

REFERENCE = "reference"  # the column of token rows with the reference model's log-probabilities


class Terms(NamedTuple):
    """What a batch's loss consists of, each of shape (rows,).

    Attributes:
        losses: their mean is the loss. chosen: rewards of the chosen answers. rejected: of the others.
    """

    losses: Tensor
    chosen: Tensor
    rejected: Tensor


class Pair(NamedTuple):
    """Log-probabilities of two answers (nats), each of shape (rows,): under the trained model, and its ratio to the
    reference model (None: there is none); with their lengths in tokens."""

    chosen: Tensor
    rejected: Tensor
    chosen_ratio: Tensor | None
    rejected_ratio: Tensor | None
    chosen_tokens: Tensor
    rejected_tokens: Tensor


def reference_log_probs(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """Return the log-probabilities of the two answers of each row, shape (rows, 2)."""
    import torch

    found = completion_log_probs(model, _inputs(batch), batch["completion_mask"])
    return torch.stack(found.chunk(2), dim=1)


def dpo_loss(model: Any, batch: Mapping[str, Any], **options: Any) -> tuple[Tensor, Any]:
    """Return the mean loss of a batch of `PairBatch`, and its `Terms`."""
    found = dpo_terms(model, batch, **options)
    return found.losses.mean(), found


def dpo_terms(model: Any, batch: Mapping[str, Any], **options: Any) -> Terms:
    """Return the losses and rewards of pairs.

    Args:
        options: `loss_type`, `beta`, `label_smoothing`, and `simpo_gamma` (SimPO).
    """
    logps = completion_log_probs(model, _inputs(batch), batch["completion_mask"])
    tokens = batch["completion_mask"].sum(1).clamp(min=1).to(logps.dtype).chunk(2)
    ratios = (logps - batch[REFERENCE].to(logps.dtype).t().reshape(-1)).chunk(2) if REFERENCE in batch else (None, None)
    pair = Pair(*logps.chunk(2), *ratios, *tokens)
    losses = DPO_LOSSES[options["loss_type"]](pair, options)
    if pair.chosen_ratio is None or pair.rejected_ratio is None:
        rewards = (pair.chosen / pair.chosen_tokens, pair.rejected / pair.rejected_tokens)
    else:
        rewards = (pair.chosen_ratio, pair.rejected_ratio)
    return Terms(losses, *(options["beta"] * reward.detach() for reward in rewards))


def kto_loss(model: Any, batch: Mapping[str, Any], **options: Any) -> tuple[Tensor, Any]:
    """Return the mean loss of a batch of `PairBatch` whose rejected answers are mismatched ones, and its `Terms`."""
    found = kto_terms(model, batch, **options)
    return found.losses.mean(), found


def kto_terms(model: Any, batch: Mapping[str, Any], **options: Any) -> Terms:
    """Return the losses of answers, and their rewards twice.

    Args:
        options: `loss_type`, `beta`, `desirable_weight`, `undesirable_weight`.
    """
    import torch

    beta, desirable = options["beta"], batch["desirable"].bool()
    half = len(desirable)
    own, other = ({name: value[part] for name, value in _inputs(batch).items()} | {
        "completion_mask": batch["completion_mask"][part]} for part in (slice(half), slice(half, None)))  # fmt: skip
    reference = batch[REFERENCE].float()
    ratio = completion_log_probs(model, _inputs(own), own["completion_mask"]) - reference[:, 0]
    if options["loss_type"] == "kto":
        with torch.no_grad():
            moved = completion_log_probs(model, _inputs(other), other["completion_mask"]) - reference[:, 1]
        away = moved.mean().clamp(min=0)
        losses = 1 - torch.sigmoid(beta * torch.where(desirable, ratio - away, away - ratio))
    else:  # apo_zero_unpaired
        losses = torch.where(desirable, 1 - torch.sigmoid(beta * ratio), torch.sigmoid(beta * ratio))
    weights = torch.where(desirable, options["desirable_weight"], options["undesirable_weight"]).to(losses.dtype)
    reward = beta * ratio.detach()
    return Terms(weights * losses, reward, reward)


def reward_loss(model: Any, batch: Mapping[str, Any], **options: Any) -> tuple[Tensor, Any]:
    """Return the mean loss of a batch of `PairBatch`, and its `Terms`."""
    found = reward_terms(model, batch, **options)
    return found.losses.mean(), found


def reward_terms(model: Any, batch: Mapping[str, Any], **options: Any) -> Terms:
    """Return the losses and scores of pairs.

    Args:
        batch: with `margin`, if the rows have it. options: `center_rewards_coefficient` (None: 0).
    """
    from torch.nn.functional import logsigmoid

    chosen, rejected = model(**_inputs(batch)).logits[:, 0].float().chunk(2)
    losses = -logsigmoid(chosen - rejected - (batch["margin"].float() if "margin" in batch else 0))
    losses = losses + (options.get("center_rewards_coefficient") or 0) * (chosen + rejected) ** 2
    return Terms(losses, chosen.detach(), rejected.detach())


def _inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def _ratios(pair: Pair) -> tuple[Tensor, Tensor]:
    assert pair.chosen_ratio is not None and pair.rejected_ratio is not None
    return pair.chosen_ratio, pair.rejected_ratio


def _log(value: Tensor) -> Tensor:
    from torch.nn.functional import logsigmoid

    return logsigmoid(value)


def _sigmoid(pair: Pair, options: Options) -> Tensor:
    """conservative DPO with `label_smoothing` > 0"""
    chosen, rejected = _ratios(pair)
    delta, smoothing = options["beta"] * (chosen - rejected), options["label_smoothing"]
    return -_log(delta) * (1 - smoothing) - _log(-delta) * smoothing


def _hinge(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    return (1 - options["beta"] * (chosen - rejected)).relu()


def _ipo(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    delta = chosen / pair.chosen_tokens - rejected / pair.rejected_tokens
    return (delta - 1 / (2 * options["beta"])) ** 2


def _sigmoid_norm(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    return -_log(options["beta"] * (chosen / pair.chosen_tokens - rejected / pair.rejected_tokens))


def _robust(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    delta, flipped = options["beta"] * (chosen - rejected), options["label_smoothing"]
    return (-_log(delta) * (1 - flipped) + _log(-delta) * flipped) / (1 - 2 * flipped)


def _exo_pair(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    delta, smoothing = options["beta"] * (chosen - rejected), options["label_smoothing"]
    return (_log(delta).exp() * (_log(delta) - math.log1p(-smoothing))
            + _log(-delta).exp() * (_log(-delta) - math.log(smoothing)))  # fmt: skip


def _nca_pair(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = (options["beta"] * ratio for ratio in _ratios(pair))
    return -_log(chosen) - 0.5 * _log(-chosen) - 0.5 * _log(-rejected)


def _bco_pair(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = (options["beta"] * ratio for ratio in _ratios(pair))
    return -_log(chosen) - _log(-rejected)


def _sppo_hard(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = _ratios(pair)
    return (chosen - 0.5 / options["beta"]) ** 2 + (rejected + 0.5 / options["beta"]) ** 2


def _apo_zero(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = (options["beta"] * ratio for ratio in _ratios(pair))
    return 1 - chosen.sigmoid() + rejected.sigmoid()


def _apo_down(pair: Pair, options: Options) -> Tensor:
    chosen, rejected = (options["beta"] * ratio for ratio in _ratios(pair))
    return chosen.sigmoid() + 1 - (chosen - rejected).sigmoid()


def _simpo(pair: Pair, options: Options) -> Tensor:
    delta = pair.chosen / pair.chosen_tokens - pair.rejected / pair.rejected_tokens
    return -_log(options["beta"] * delta - options["simpo_gamma"])


def _orpo(pair: Pair, options: Options) -> Tensor:
    import torch

    chosen, rejected = pair.chosen / pair.chosen_tokens, pair.rejected / pair.rejected_tokens
    odds = chosen - rejected - (torch.log1p(-chosen.exp()) - torch.log1p(-rejected.exp()))
    return -chosen - options["beta"] * _log(odds)


DPO_LOSSES: Mapping[str, Callable[[Pair, Options], Tensor]] = {
    "sigmoid": _sigmoid, "hinge": _hinge, "ipo": _ipo, "sigmoid_norm": _sigmoid_norm, "robust": _robust,
    "exo_pair": _exo_pair, "nca_pair": _nca_pair, "bco_pair": _bco_pair, "sppo_hard": _sppo_hard,
    "apo_zero": _apo_zero, "apo_down": _apo_down, "simpo": _simpo, "orpo": _orpo,
}  # fmt: skip
