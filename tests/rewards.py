"""Reward functions of tests."""

from collections.abc import Sequence
from typing import Any


def early_letters(prompts: Any, completions: Sequence[Any], **columns: Any) -> list[float]:
    """The share of letters before `n`: every answer of a random model has another."""
    texts = [each[0]["content"] for each in completions]
    return [sum(letter < "n" for letter in text if letter.isalpha()) / max(len(text), 1) for text in texts]


def by_topic(completions: Sequence[Any], topic: Sequence[str]) -> list[float]:
    """Whether an answer has the row's topic."""
    return [float(right in each[0]["content"]) for each, right in zip(completions, topic, strict=True)]
