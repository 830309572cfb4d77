"""Answers sampled from a model so that they depend only on seeds, prompts and weights: not on the rows beside them, and
not on what was sampled before, so that an interrupted training repeats them exactly."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tasks.models.generation import generated
from tasks.models.selected_logits import selected_logits


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled, with the names of transformers' generation config.

    Attributes:
        max_new_tokens: at most, in an answer. ends: tokens that end one. pad: the padding token.
    """

    max_new_tokens: int
    ends: Sequence[int]
    pad: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None


def draws(seed: Sequence[int], rows: int, tokens: int) -> np.ndarray:
    """Return the random numbers that choose the tokens of some answers, in [0, 1), shape (rows, tokens)."""
    return np.random.default_rng(list(seed)).random((rows, tokens))


def sample(
    model: Any, inputs: Mapping[str, torch.Tensor], sampling: Sampling, chosen_by: np.ndarray
) -> list[tuple[list[int], bool]]:
    """Return for each row the tokens of an answer, its end token included, and whether it has one.

    Args:
        inputs: `input_ids` and `attention_mask`, padded on the left. chosen_by: see `draws`.
    """
    numbers = torch.from_numpy(chosen_by).to(inputs["input_ids"].device)
    return [ended(row, sampling.ends) for row in generate(model, inputs, sampling, numbers)]


def generate(
    model: Any, inputs: Mapping[str, torch.Tensor], sampling: Sampling, chosen_by: torch.Tensor | None = None
) -> list[list[int]]:
    """Return tokens after each row, with padding: the likeliest, or those that `chosen_by` samples (see `draws`)."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=sampling.max_new_tokens, pad_token_id=sampling.pad,
        eos_token_id=list(sampling.ends), use_cache=True,
    )  # fmt: skip

    def some(rows: Sequence[int], given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        chooser = [] if chosen_by is None else [Chooser(chosen_by[list(rows)], sampling)]
        return model.generate(**given, logits_processor=LogitsProcessorList(chooser))

    with _own_generation_config(model, config):
        return generated(model, inputs, sampling.pad, some).tolist()


class Chooser(LogitsProcessor):
    """Samples by inverting the cumulative distribution at given numbers: all other tokens become impossible.

    Args:
        chosen_by: see `draws`.
    """

    def __init__(self, chosen_by: torch.Tensor, sampling: Sampling) -> None:
        self.chosen_by, self.done = chosen_by, 0
        self.warpers: list[LogitsProcessor] = []
        if sampling.temperature != 1:
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k is not None:
            self.warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p is not None and sampling.top_p < 1:
            self.warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for warper in self.warpers:
            scores = warper(input_ids, scores)  # type: ignore[arg-type]
        cumulated = scores.float().softmax(-1).double().cumsum(-1)
        wanted = self.chosen_by[:, self.done, None] * cumulated[:, -1:]
        self.done += 1
        chosen = torch.searchsorted(cumulated, wanted, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


@dataclass(frozen=True)
class TokenTerms:
    """What a model says of each token of some rows, float32 of shape (rows, tokens), 0 where none is asked for.

    Attributes:
        log_probs: of the token given those before it, in nats. entropy: of the distribution it is from, in nats,
            without gradients. hidden: the last hidden states from which they are computed, (answer tokens, width).
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    hidden: torch.Tensor


def token_terms(model: Any, batch: Mapping[str, torch.Tensor], temperature: float = 1.0) -> TokenTerms:
    """Run the model on whole conversations.

    Args:
        batch: `input_ids` and `attention_mask`, padded on the right, and `completion_mask`, 1 for the tokens asked for.
        temperature: that of sampling, by which logits are divided.
    """
    from torch.nn.functional import cross_entropy, pad

    mask = batch["completion_mask"].bool()
    scored = pad(mask, (0, 1), value=False)[:, 1:]  # a token's logits are those of the token before it
    held: list[torch.Tensor] = []
    head = model.get_output_embeddings()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with head.register_forward_hook(lambda _, given, __: held.append(given[0])):
        logits = selected_logits(model, inputs, scored).logits[0].float() / temperature
    log_probs = -cross_entropy(logits, batch["input_ids"][mask], reduction="none")
    with torch.no_grad():
        known = logits.log_softmax(-1)
        entropy = -(known.exp() * known).sum(-1)
    return TokenTerms(placed(log_probs, mask), placed(entropy, mask), held[0][0])


def placed(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return one value for each marked token, in order, as float32 in the shape of `mask`, 0 elsewhere."""
    empty = torch.zeros(mask.shape, dtype=torch.float32, device=values.device)
    return empty.masked_scatter(mask, values.float())


def joined(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Return prompts with their answers, padded on the right: `input_ids`, `attention_mask`, `completion_mask`."""
    width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(prompts), width), pad)
    masks = torch.zeros((2, len(prompts), width), dtype=torch.long)
    for at, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[at, :end] = torch.tensor([*prompt, *answer])
        masks[0, at, :end] = 1
        masks[1, at, len(prompt) : end] = 1
    return {"input_ids": ids, "attention_mask": masks[0], "completion_mask": masks[1]}


def ended(tokens: list[int], ends: Sequence[int]) -> tuple[list[int], bool]:
    """Return the tokens up to the first end token, it included, and whether there is one."""
    at = next((at for at, token in enumerate(tokens) if token in ends), None)
    return (tokens, False) if at is None else (tokens[: at + 1], True)


@contextmanager
def _own_generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Within, the model generates with `config` alone: its own may penalize repetitions, or ban tokens."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    before, inner.generation_config = inner.generation_config, config
    try:
        yield
    finally:
        inner.generation_config = before
