"""Predictions of classification and regression: probabilities or numbers, and the resulting label."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, firsts, lineage
from tasks.evaluation.threshold import HALF, chosen


class ClassPredictor:
    """One prediction per text; the windows of a long text are averaged.

    Args:
        head: `labels` and `problem_type`.

    Predictions:
        single-label: `label`, `prediction` (names), `probabilities` (by class id); multi-label: lists of names of
        classes with a probability of at least `head['threshold']` (0.5; a list has one for each class); regression:
        `label`, `prediction` as float64.
    """

    windows = True
    found = pa.schema([("logits", pa.list_(pa.float32()))])

    def __init__(self, head: Mapping[str, Any], **_: object) -> None:
        self.labels, self.problem = head["labels"], head["problem_type"]
        self.threshold = np.asarray(head.get("threshold", HALF), dtype=np.float32)

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        output = model(**batch)
        logits = output.logits.float().cpu().numpy()
        loss = float(output.loss) if output.loss is not None else float("nan")
        return BatchPredictions({"logits": list(logits.reshape(len(logits), -1))}, loss, len(logits))

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts = firsts(tokens)
        flat = found["logits"].combine_chunks().flatten().to_numpy()
        logits = flat.reshape(found.num_rows, -1)
        sizes = np.diff(np.append(starts, found.num_rows))
        logits = np.add.reduceat(logits, starts, axis=0) / sizes[:, None].astype(np.float32)
        columns = lineage(tokens, starts)
        right = tokens["labels"].combine_chunks().take(pa.array(starts)) if "labels" in tokens.column_names else None
        if self.problem == "regression":
            known = {"label": right.cast(pa.float64())} if right is not None else {}
            return pa.table(columns | known | {"prediction": pa.array(logits[:, 0].astype(np.float64))})
        names = pa.array(self.labels, pa.string())
        if self.problem == "multi_label_classification":
            return self._several(columns, logits, right, names)
        known = {"label": names.take(right)} if right is not None else {}
        shown = {"prediction": names.take(pa.array(logits.argmax(axis=1)))}
        return pa.table(columns | known | shown | {"probabilities": _fixed(_softmax(logits))})

    def _several(self, columns: dict[str, Any], logits: np.ndarray, right: Any, names: pa.Array) -> pa.Table:
        width = len(names)
        known = {}
        if right is not None:
            known = {"label": chosen(right.flatten().to_numpy().reshape(-1, width) > 0.5, names)}
        probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
        shown = {"prediction": chosen(probabilities >= self.threshold, names), "probabilities": _fixed(probabilities)}
        return pa.table(columns | known | shown)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (exponents / exponents.sum(axis=-1, keepdims=True)).astype(np.float32)


def _fixed(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
