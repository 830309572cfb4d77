"""Token classification, judged: one tag a word."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.judge import Judged, firsts, lineage

IGNORED = -100


class WordJudge:
    """The tag of a word is that of its first piece. Words that no window reached (`overlong: truncate`) are in
    neither list.

    Predictions:
        `prediction` and, where it is known, `label`: lists of tags, one a word; `__places`: which words those are.
    """

    windows = True
    found = pa.schema([("tags", pa.list_(pa.int32()))])

    def __init__(self, head: Mapping[str, Any], **_: Any) -> None:
        self.labels = head["labels"]

    def batch(self, model: Any, batch: Mapping[str, Any]) -> Judged:
        output = model(**batch)
        best = output.logits.argmax(-1).cpu().numpy().astype(np.int32)
        mask = batch["attention_mask"].cpu().numpy().astype(bool)
        weight = float((batch["labels"] != IGNORED).sum()) if "labels" in batch else 0.0
        loss = float(output.loss) if output.loss is not None else 0.0
        return Judged({"tags": [row[seen] for row, seen in zip(best, mask, strict=True)]}, loss, weight)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts = firsts(tokens)
        words = tokens["__words"].combine_chunks()
        places = words.flatten().to_numpy()
        lengths = words.value_lengths().to_numpy()
        row = np.repeat(np.arange(len(words)), lengths)
        shown = places >= 0
        per_row = np.bincount(row[shown], minlength=len(words))
        offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(per_row, starts))]).astype(np.int32)
        names = pa.array(self.labels, pa.string())

        def named(ids: np.ndarray) -> pa.Array:
            return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(ids[shown])))

        columns = lineage(tokens, starts)
        if "labels" in tokens.column_names:
            columns["label"] = named(tokens["labels"].combine_chunks().flatten().to_numpy())
        columns["__places"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(places[shown]))
        columns["prediction"] = named(found["tags"].combine_chunks().flatten().to_numpy())
        return pa.table(columns)
