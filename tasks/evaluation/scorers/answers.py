"""Metrics of extractive question answering, as SQuAD defines them (v1.1: Rajpurkar et al. 2016; v2.0: 2018)."""

import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

ARTICLES = re.compile(r"\b(a|an|the)\b")
MARKS = str.maketrans("", "", string.punctuation)


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of answers."""
    return Answers()


class Answers:
    """exact_match and f1 (of words), each the maximum over a question's correct answers, from 0 to 1 (SQuAD's script
    prints percent); with unanswerable questions also separately (`has_answer_…`, `no_answer_…`)."""

    def rows(self, batch: pa.Table) -> np.ndarray:
        found = np.zeros((batch.num_rows, 6))
        pairs = zip(batch["answers"].to_pylist(), batch["prediction"].to_pylist(), strict=True)
        for row, (answers, prediction) in enumerate(pairs):
            # SQuAD 2.0: if all answers of a question are empty after normalisation, its answer is ""
            right = [answer for answer in answers or [] if normalise(answer)] or [""]
            none = 3 * (right == [""])
            found[row, none : none + 3] = (
                max(float(normalise(answer) == normalise(prediction)) for answer in right),
                max(overlap(answer, prediction) for answer in right), 1,
            )  # fmt: skip
        return found

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        exact, f1, total, none_exact, none_f1, none = sums.T
        found = {"exact_match": ratio(exact + none_exact, total + none), "f1": ratio(f1 + none_f1, total + none)}
        if none.any():
            found |= {
                "has_answer_exact_match": ratio(exact, total),
                "has_answer_f1": ratio(f1, total),
                "no_answer_exact_match": ratio(none_exact, none),
                "no_answer_f1": ratio(none_f1, none),
            }
        return found

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}


def normalise(text: str) -> str:
    """Return lower case text without punctuation, articles and extra spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(MARKS)).split())


def overlap(answer: str, prediction: str) -> float:
    """Return the F1 of the words that two texts share; if one is empty, whether both are."""
    right, seen = normalise(answer).split(), normalise(prediction).split()
    if not right or not seen:
        return float(right == seen)
    same = sum((Counter(right) & Counter(seen)).values())
    return 2 * same / (len(right) + len(seen)) if same else 0.0
