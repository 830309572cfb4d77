"""Predictions of causal language models: continuations."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from tasks.data.chat.template import ends
from tasks.evaluation.predictor import BatchPredictions, lineage
from tasks.models.generation import ONE_EACH, generated

NEW_TOKENS = 64


class PromptPredictor:
    """Generates from each row's text, with the model's saved generation config.

    Args:
        tokenizer: called once for the tokenizer.
        generation: `generation_max_length` (new tokens; 64 if unset), `generation_num_beams`; further arguments of
            transformers' `generate` in `generate`.

    Predictions:
        `prediction`: the continuation.
    """

    windows = False
    generates = True
    found = pa.schema([("prediction", pa.string())])

    def __init__(
        self, head: Mapping[str, Any], tokenizer: Callable[[], Any], generation: Mapping[str, Any], **_: object
    ) -> None:
        self.tokenizer = tokenizer()
        self.limits = {"max_new_tokens": generation.get("generation_max_length") or NEW_TOKENS}
        if generation.get("generation_num_beams"):
            self.limits["num_beams"] = generation["generation_num_beams"]
        self.limits |= {**ONE_EACH, "max_length": None, "pad_token_id": self.tokenizer.pad_token_id}
        self.limits |= generation.get("generate", {})

    def batch(self, model: Any, batch: Mapping[str, Any]) -> BatchPredictions:
        return BatchPredictions({"prediction": self.decoded(self.produced(model, batch))}, 0.0, 0.0)

    def produced(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Return the new tokens of each row: shape (rows, tokens), padded."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        pad = self.limits["pad_token_id"]
        return generated(model, inputs, pad, lambda _, given: model.generate(**given, **self.limits))

    def decoded(self, produced: Any) -> list[str]:
        """Return the texts of new tokens."""
        return self.tokenizer.batch_decode(produced, skip_special_tokens=True)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {"prediction": found["prediction"]})


class AnswerPredictor(PromptPredictor):
    """`PromptPredictor` for conversations: also stops at the token with which the chat template ends an answer."""

    def produced(self, model: Any, batch: Mapping[str, Any]) -> Any:
        if "eos_token_id" not in self.limits:
            self.limits["eos_token_id"] = ends(self.tokenizer, model.generation_config.eos_token_id)
        return super().produced(model, batch)


class MeasuredAnswers(AnswerPredictor):
    """`AnswerPredictor` with `cut`: whether the limit of new tokens ended an answer, and not a token that does."""

    found = pa.schema([("prediction", pa.string()), ("cut", pa.bool_())])

    def batch(self, model: Any, batch: Mapping[str, Any]) -> BatchPredictions:
        produced = self.produced(model, batch)
        given = self.limits["eos_token_id"]
        ending = {self.limits["pad_token_id"], *(given if isinstance(given, list | tuple) else [given])}
        cut = [int(token) not in ending for token in produced[:, -1]]
        return BatchPredictions({"prediction": self.decoded(produced), "cut": cut}, 0.0, 0.0)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {name: found[name] for name in found.column_names})
