"""Scoring of evaluation rows during training, and their order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Sampler
from transformers import EvalPrediction

from tasks.evaluation.predictor import Predictor


@dataclass(frozen=True)
class Evaluator:
    """Scores evaluation rows during training.

    Attributes:
        predictor: the task's predictor.
        score: from the predictions table to `{metric: value}`.
        whole: the same from transformers' `EvalPrediction`, for functions that need all logits at once.
    """

    predictor: Predictor
    score: Callable[[Any], Mapping[str, float]]
    whole: Callable[[EvalPrediction], Mapping[str, float]] | None = None


class LongestFirst(Sampler[int]):
    """Samples rows by descending length: least padding, and a batch that does not fit in memory fails first."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.order = np.argsort(-np.asarray(lengths), kind="stable")

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())

    def __len__(self) -> int:
        return len(self.order)


def ordered(values: Any, places: np.ndarray) -> Any:
    """Reorder the rows of arrays (or of tuples of them); return other values unchanged."""
    if isinstance(values, tuple | list):
        return tuple(ordered(each, places) for each in values)
    return values[places] if isinstance(values, np.ndarray) and len(values) == len(places) else values
