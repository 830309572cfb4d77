"""Predictions of masked language models: the token of each mask."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, firsts, lineage

BEST = 5


class MaskPredictor:
    """Fills the mask tokens of each row's text.

    Args:
        processor: `mask_token_id`. tokenizer: called once for the tokenizer.

    Predictions:
        `prediction`: the most likely token of each mask, in order; `candidates`: the five most likely of each mask, and
        `scores`: their probabilities.
    """

    windows = True
    found = pa.schema([("candidates", pa.list_(pa.list_(pa.string()))), ("scores", pa.list_(pa.list_(pa.float32())))])

    def __init__(
        self, head: Mapping[str, Any], processor: Mapping[str, Any], tokenizer: Callable[[], Any], **_: object
    ) -> None:
        self.mask, self.tokenizer = processor["mask_token_id"], tokenizer()

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        logits, masked = model(**batch).logits, batch["input_ids"] == self.mask
        columns: dict[str, Any] = {"candidates": [], "scores": []}
        for row, places in zip(logits, masked, strict=True):
            scores, ids = row[places].float().softmax(-1).topk(BEST, dim=-1)
            columns["scores"].append(scores.cpu().tolist())
            columns["candidates"].append([[self.tokenizer.decode([token]).strip() for token in each]
                                          for each in ids.cpu().tolist()])  # fmt: skip
        return BatchPredictions(columns, 0.0, 0.0)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts = firsts(tokens)
        results = found.to_pylist()
        columns: dict[str, Any] = {"prediction": [], "candidates": [], "scores": []}
        for first, last in zip(starts, [*starts[1:], len(results)], strict=True):
            for name in ("candidates", "scores"):
                columns[name].append([each for result in results[first:last] for each in result[name]])
            columns["prediction"].append([best[0] for best in columns["candidates"][-1]])
        kinds = {"prediction": pa.list_(pa.string()), **{field.name: field.type for field in self.found}}
        return pa.table(lineage(tokens, starts) | {name: pa.array(columns[name], kind) for name, kind in kinds.items()})
