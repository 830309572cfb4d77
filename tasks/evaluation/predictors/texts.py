"""Predictions of sequence to sequence: the generated text, and the likelihood of the reference."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tasks.evaluation.predictor import BatchPredictions, lineage
from tasks.evaluation.predictors.tokens import IGNORED, token_scores
from tasks.models.generation import scoring


class TextPredictor:
    """Generates with the model (unless `generation["predict_with_generate"]` is false).

    Args:
        tokenizer: called once for the tokenizer.
        generation: `predict_with_generate`, `generation_max_length` (tokens), `generation_num_beams`; further
            arguments of transformers' `generate` in `generate`.

    Predictions:
        `label` (the reference), `prediction` (the generated text), `nll`, `tokens`, `correct` of the reference's
        tokens.
    """

    windows = False
    generates = True

    def __init__(
        self, head: Mapping[str, Any], tokenizer: Callable[[], Any], generation: Mapping[str, Any], **_: object
    ) -> None:
        self.tokenizer = tokenizer()
        self.generates = generation.get("predict_with_generate", True)
        self.generation = generation
        fields = [("nll", pa.float64()), ("tokens", pa.int64()), ("correct", pa.int64())]
        self.found = pa.schema([*fields, ("prediction", pa.string())] if self.generates else fields)

    def batch(self, model: Any, batch: Mapping[str, Any]) -> BatchPredictions:
        columns: dict[str, Any] = {}
        loss = weight = 0.0
        rows = len(batch["input_ids"])
        if "labels" in batch:
            output = model(**batch)
            columns = token_scores(output.logits, batch["labels"])
            loss, weight = float(output.loss), float((batch["labels"] != IGNORED).sum())
        else:
            columns = {"nll": [0.0] * rows, "tokens": [0] * rows, "correct": [0] * rows}
        if self.generates:
            given = {name: batch[name] for name in ("input_ids", "attention_mask")}
            how = scoring(model.generation_config.to_dict(), self.generation) | self.generation.get("generate", {})
            produced = model.generate(**given, **how)
            columns["prediction"] = self.tokenizer.batch_decode(produced, skip_special_tokens=True)
        return BatchPredictions(columns, loss, weight)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        columns = lineage(tokens)
        if "__target" in tokens.column_names:
            columns["label"] = tokens["__target"]
        if "labels" not in tokens.column_names:
            found = found.drop_columns(["nll", "tokens", "correct"])
        return pa.table(columns | {name: found[name] for name in found.column_names})
