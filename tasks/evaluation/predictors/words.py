"""Predictions of token classification: one tag per word."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, firsts, lineage

IGNORED = -100


class WordPredictor:
    """The tag of a word is that of its first token; without tokens it is O (null if no class is O). Words beyond a
    truncation (`overlong: truncate`) are in neither list.

    Predictions:
        `prediction` and, if known, `label`: lists of tags, one per word; `__places`: the positions of these words.
    """

    windows = True
    found = pa.schema([("tags", pa.list_(pa.int32()))])

    def __init__(self, head: Mapping[str, Any], **_: object) -> None:
        self.labels = head["labels"]

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        output = model(**batch)
        best = output.logits.argmax(-1).cpu().numpy().astype(np.int32)
        mask = batch["attention_mask"].cpu().numpy().astype(bool)
        weight = float((batch["labels"] != IGNORED).sum()) if "labels" in batch else 0.0
        loss = float(output.loss) if output.loss is not None else 0.0
        return BatchPredictions({"tags": [row[seen] for row, seen in zip(best, mask, strict=True)]}, loss, weight)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts = firsts(tokens)
        of_window = np.searchsorted(starts, np.arange(tokens.num_rows), side="right") - 1
        words, bare = _Lists(tokens["__words"], of_window), _Lists(tokens["__bare"], of_window)
        shown = words.values >= 0
        rows, places = np.append(words.rows[shown], bare.rows), np.append(words.values[shown], bare.values)
        order = np.lexsort((places, rows))
        offsets = pa.array(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(starts)))]).astype(np.int32))
        names = pa.array(self.labels, pa.string())
        outside = self.labels.index("O") if "O" in self.labels else None

        def listed(values: pa.Array) -> pa.Array:
            return pa.ListArray.from_arrays(offsets, values.take(pa.array(order)))

        columns = lineage(tokens, starts)
        if "labels" in tokens.column_names:
            known = _Lists(tokens["labels"], of_window).values[shown], _Lists(tokens["__bare_tags"], of_window).values
            columns["label"] = listed(names.take(pa.array(np.append(*known))))
        columns["__places"] = listed(pa.array(places))
        predicted = pa.array(_Lists(found["tags"], of_window).values[shown], pa.int32())
        silent = pa.array([outside] * len(bare.values), pa.int32())
        columns["prediction"] = listed(names.take(pa.concat_arrays([predicted, silent])))
        return pa.table(columns)


class _Lists:
    """A list column as flat values and, for each, its data row."""

    def __init__(self, column: pa.ChunkedArray, of_window: np.ndarray) -> None:
        lists = column.combine_chunks()
        self.values = lists.flatten().to_numpy()
        self.rows = np.repeat(of_window, lists.value_lengths().to_numpy())
