"""Predictions of replaced-token detection: of the generator and the discriminator."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, Model, firsts, lineage

IGNORED = -100
COUNTS = ("tokens", "correct", "seen", "replaced", "true_positive", "false_positive")


class DetectionPredictor:
    """Predicts with masks and samples that are the same in every evaluation.

    Predictions:
        of the generator `nll` (nats, summed over masked tokens), `tokens`, `correct`; of the discriminator
        `detector_nll` (nats, summed over all tokens), `seen` and `replaced` (numbers of tokens), `true_positive`,
        `false_positive`.
    """

    windows = False
    found = pa.schema([("nll", pa.float64()), ("detector_nll", pa.float64()), *((name, pa.int64()) for name in COUNTS)])

    def __init__(self, head: Mapping[str, Any], **_: object) -> None:
        pass

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        output = model(**batch)
        masked, real = batch["labels"] != IGNORED, batch["attention_mask"].bool()
        guessed, wanted = output.masked_logits, batch["labels"][masked]
        per_row = masked.sum(1).tolist()
        nll = cross_entropy(guessed, wanted, reduction="none").split(per_row)
        right = (guessed.argmax(-1) == wanted).split(per_row)
        flags, replaced = (output.logits > 0) & real, output.replaced.bool() & real
        detector = binary_cross_entropy_with_logits(output.logits.float(), replaced.float(), reduction="none")
        columns = {
            "nll": [float(row.double().sum()) for row in nll],
            "detector_nll": (detector * real).double().sum(1).tolist(),
            "tokens": per_row,
            "correct": [int(row.sum()) for row in right],
            "seen": real.sum(1).tolist(),
            "replaced": replaced.sum(1).tolist(),
            "true_positive": (flags & replaced).sum(1).tolist(),
            "false_positive": (flags & ~replaced).sum(1).tolist(),
        }
        return BatchPredictions(columns, float(output.loss), len(per_row))

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {name: found[name] for name in found.column_names})


class ReplacedPredictor:
    """Predicts with the discriminator alone, on unchanged texts.

    Args:
        processor: `special_ids`. tokenizer: called once for the tokenizer.

    Predictions:
        `tokens` (in the tokenizer's form, without special ones), `scores` (the probability that each was replaced),
        `prediction` (the tokens with a score above 0.5).
    """

    windows = True
    found = pa.schema([("ids", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32()))])

    def __init__(
        self, head: Mapping[str, Any], processor: Mapping[str, Any], tokenizer: Callable[[], Any], **_: object
    ) -> None:
        self.special, self.tokenizer = set(processor["special_ids"]), tokenizer()

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        logits = model(**batch).logits
        scores = logits.float().reshape(batch["input_ids"].shape).sigmoid().cpu().numpy()
        ids, mask = (batch[name].cpu().numpy() for name in ("input_ids", "attention_mask"))
        columns: dict[str, Any] = {"ids": [], "scores": []}
        for row, score, seen in zip(ids, scores, mask.astype(bool), strict=True):
            kept = [at for at in seen.nonzero()[0] if int(row[at]) not in self.special]
            columns["ids"].append(row[kept])
            columns["scores"].append(score[kept])
        return BatchPredictions(columns, 0.0, 0.0)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        starts, results = firsts(tokens), found.to_pylist()
        columns: dict[str, Any] = {"tokens": [], "scores": [], "prediction": []}
        for first, last in zip(starts, [*starts[1:], len(results)], strict=True):
            ids = [token for result in results[first:last] for token in result["ids"]]
            scores = [score for result in results[first:last] for score in result["scores"]]
            words = self.tokenizer.convert_ids_to_tokens(ids)
            columns["tokens"].append(words)
            columns["scores"].append(scores)
            columns["prediction"].append([word for word, score in zip(words, scores, strict=True) if score > 0.5])
        return pa.table(lineage(tokens, starts) | columns)
