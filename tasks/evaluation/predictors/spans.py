"""Predictions of extractive question answering: the best span over all windows of a question's context."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, firsts, lineage

BEST = 20
LONGEST = 30


class SpanPredictor:
    """As transformers' run_qa: of the 20 best starts and ends of each window, the pair with the highest summed logits
    that is within the context, in order, and at most 30 tokens long. If training had unanswerable questions
    (`head["no_answer"]`), it competes with the CLS token's score (the minimum over the windows), which predicts "".

    Predictions:
        `prediction` (text), `score` (summed logits), and the correct `answers` if known.
    """

    windows = True
    found = pa.schema(
        [
            ("starts", pa.list_(pa.int32())), ("start_scores", pa.list_(pa.float32())),
            ("ends", pa.list_(pa.int32())), ("end_scores", pa.list_(pa.float32())), ("none", pa.float32()),
        ]
    )  # fmt: skip

    def __init__(self, head: Mapping[str, Any], processor: Mapping[str, Any], **_: object) -> None:
        self.no_answer, self.cls = bool(head.get("no_answer")), processor["cls_token_id"]

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        output = model(**batch)
        mask = batch["attention_mask"].bool()
        left = (~mask).sum(1) if not mask[:, 0].all() else mask.sum(1) * 0  # positions count without left padding
        # as in training: without a CLS token the first position is used
        nothing = left[:, None] if self.cls is None else (batch["input_ids"] == self.cls).int().argmax(1, keepdim=True)
        columns: dict[str, Any] = {}
        none = 0.0
        for name, logits in (("start", output.start_logits.float()), ("end", output.end_logits.float())):
            none = none + logits.gather(1, nothing)[:, 0]
            scores, places = logits.masked_fill(~mask, -1e30).topk(min(BEST, logits.shape[1]), dim=1)
            columns[f"{name}s"] = list((places - left[:, None]).cpu().numpy().astype(np.int32))
            columns[f"{name}_scores"] = list(scores.cpu().numpy())
        columns["none"] = none.cpu().numpy()  # type: ignore[union-attr]
        rows = len(mask)
        return BatchPredictions(columns, float(output.loss) if output.loss is not None else float("nan"), rows)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts = firsts(tokens)
        results, texts = found.to_pylist(), tokens["__text"].to_pylist()
        offsets = tokens["__offsets"].combine_chunks()
        predictions, scores = [], []
        for first, last in zip(starts, [*starts[1:], len(results)], strict=True):
            best, text, none = -np.inf, "", np.inf
            for at in range(first, last):
                spans = offsets[int(at)].values.to_numpy().reshape(-1, 2)
                score, low, high = _best(results[at], spans)
                none = min(none, results[at]["none"])
                if score > best:
                    best, text = score, texts[at][low:high]
            if self.no_answer and none > best:
                best, text = none, ""
            predictions.append(text)
            scores.append(best)
        columns = lineage(tokens, starts)
        if "__answers" in tokens.column_names:
            columns["answers"] = tokens["__answers"].combine_chunks().take(pa.array(starts))
        return pa.table(columns | {"prediction": pa.array(predictions, pa.string()), "score": pa.array(scores)})


def _best(result: Mapping[str, Any], spans: np.ndarray) -> tuple[float, int, int]:
    """Return the score of a window's best span, and its position in the text."""
    starts, ends = np.asarray(result["starts"]), np.asarray(result["ends"])
    inside = [(at >= 0) & (at < len(spans)) for at in (starts, ends)]
    good = [ok & (spans[np.where(ok, at, 0), 0] >= 0) for ok, at in zip(inside, (starts, ends), strict=True)]
    scores = np.asarray(result["start_scores"])[:, None] + np.asarray(result["end_scores"])[None, :]
    length = ends[None, :] - starts[:, None]
    scores = np.where(good[0][:, None] & good[1][None, :] & (length >= 0) & (length < LONGEST), scores, -np.inf)
    start, end = np.unravel_index(int(scores.argmax()), scores.shape)
    if not np.isfinite(scores[start, end]):
        return -np.inf, 0, 0
    return float(scores[start, end]), int(spans[starts[start], 0]), int(spans[ends[end], 1])
