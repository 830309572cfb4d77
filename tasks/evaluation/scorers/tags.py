"""Metrics of token classification: entities as in seqeval (conlleval), or words if the tags follow no scheme."""

import re
from collections.abc import Mapping
from operator import eq
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.score import Scorer, Sums, ratio

BILOU = {"U": "S", "L": "E"}  # seqeval's prefixes of unit and last words
SCHEME = re.compile(r"(?:[BIESLU]-.+|O)$")


def scorer(head: Mapping[str, Any]) -> Scorer:
    """Return the scorer of a tag set."""
    labels = head["labels"]
    return Entities(labels) if all(SCHEME.match(label) for label in labels) else Words(labels)


class Entities:
    """f1, precision, recall of whole entities (both boundaries and the type must match; micro), `f1_<type>` of each
    type, and accuracy (of words)."""

    def __init__(self, labels: list[str]) -> None:
        self.types = sorted({label[2:] for label in labels if label != "O"})

    def rows(self, batch: pa.Table) -> np.ndarray:
        place = {name: at for at, name in enumerate(self.types)}
        counts = np.zeros((batch.num_rows, 3, len(place)))
        words = np.zeros((batch.num_rows, 2))
        pairs = zip(batch["label"].to_pylist(), batch["prediction"].to_pylist(), strict=True)
        for row, (gold, seen) in enumerate(pairs):
            right, found = _entities(gold), _entities(seen)
            for kind, entities in enumerate((right & found, found, right)):
                for entity in entities:
                    counts[row, kind, place[entity[0]]] += 1
            words[row] = sum(map(eq, gold, seen)), len(gold)
        return np.hstack([counts.reshape(batch.num_rows, -1), words])

    def counts(self, sums: Sums) -> tuple[list[str], Sums, Sums, Sums]:
        right, seen, gold = (sums[:, :-2].reshape(len(sums), 3, -1)[:, at] for at in range(3))
        return self.types, right, seen, gold

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        _, right, seen, gold = self.counts(sums)
        each = ratio(2 * right, seen + gold)
        return {
            "f1": ratio(2 * right.sum(1), seen.sum(1) + gold.sum(1)),
            "precision": ratio(right.sum(1), seen.sum(1)),
            "recall": ratio(right.sum(1), gold.sum(1)),
            "accuracy": ratio(sums[:, -2], sums[:, -1]),
            **{f"f1_{name}": each[:, at] for at, name in enumerate(self.types)},
        }

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}


def _entities(tags: list[str | None]) -> set[tuple[str, int, int]]:
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities([BILOU.get(tag[0], tag[0]) + tag[1:] for tag in (each or "O" for each in tags)]))


class Words:
    """accuracy, f1, precision, recall of words (macro over the tags that occur)."""

    def __init__(self, labels: list[str]) -> None:
        self.place = {label: at for at, label in enumerate(labels)}

    def rows(self, batch: pa.Table) -> np.ndarray:
        counts = np.zeros((batch.num_rows, 3, len(self.place)))
        pairs = zip(batch["label"].to_pylist(), batch["prediction"].to_pylist(), strict=True)
        for row, (gold, seen) in enumerate(pairs):
            for right, found in zip(gold, seen, strict=True):
                counts[row, 0, self.place[right]] += right == found
                if found is not None:  # None: a word without tokens, if no class is O
                    counts[row, 1, self.place[found]] += 1
                counts[row, 2, self.place[right]] += 1
        return counts.reshape(batch.num_rows, -1)

    def counts(self, sums: Sums) -> tuple[list[str], Sums, Sums, Sums]:
        right, seen, gold = (sums.reshape(len(sums), 3, -1)[:, at] for at in range(3))
        return list(self.place), right, seen, gold

    def measures(self, sums: Sums) -> dict[str, np.ndarray]:
        _, right, seen, gold = self.counts(sums)
        occurs = np.maximum(((seen + gold) > 0).sum(1), 1)
        return {
            "f1": ratio(2 * right, seen + gold).sum(1) / occurs,
            "precision": ratio(right, seen).sum(1) / occurs,
            "recall": ratio(right, gold).sum(1) / occurs,
            "accuracy": ratio(right.sum(1), gold.sum(1)),
        }

    def ranks(self, table: pa.Table) -> dict[str, float]:
        return {}
