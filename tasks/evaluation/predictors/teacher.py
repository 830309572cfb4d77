"""A teacher's answers to training rows, as distillation reads them."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.evaluation.predictor import BatchPredictions, Model
from tasks.models.selected_logits import answered, labelled, last_hidden_states, selected_logits

LABELS = ("labels", "start_positions", "end_positions")
SAMPLED = 256  # rows
SHIFT = "prepare_decoder_input_ids_from_labels"


class TeacherPredictor:
    """Predictions: `teacher_values` (list of float32): the logits of a row's classes, of the classes of each of its
    labelled tokens, or of start and end at each of its tokens; of language models the `top_k` highest log-probabilities
    (nats) at each labelled position, with their tokens in `teacher_ids` (list of int64). With `hidden_size` also
    `teacher_states` (list of float16): the last layer's hidden states at each labelled position, or each token.

    Args:
        kind: see `Objective.cross_entropy`. classes: their number.
        vocabulary: the tokenizer's tokens; logits beyond, which pad the embeddings, are left out.
        temperature, top_k: of language models. hidden_size: width of the hidden states; 0: they are not kept.
    """

    windows = False

    def __init__(
        self, kind: str | None, *, classes: int = 1, vocabulary: int = 0, temperature: float = 1.0, top_k: int = 0,
        hidden_size: int = 0,
    ) -> None:  # fmt: skip
        self.kind, self.classes, self.vocabulary = kind, classes, vocabulary
        self.temperature, self.top_k, self.hidden_size = temperature, min(top_k, vocabulary), hidden_size
        fields = {"teacher_values": pa.float32()} | ({"teacher_ids": pa.int64()} if self.is_of_tokens else {})
        fields |= {"teacher_states": pa.float16()} if hidden_size else {}
        self.found = pa.schema([(name, pa.list_(kind)) for name, kind in fields.items()])

    @property
    def is_of_tokens(self) -> bool:
        """Whether answers are tokens of a vocabulary."""
        return self.kind in ("vocabulary", "next_token")

    def batch(self, model: Model, batch: Mapping[str, Any]) -> BatchPredictions:
        inputs = _known(model, batch) | ({"output_hidden_states": True} if self.hidden_size else {})
        columns, outputs = (self._of_tokens if self.is_of_tokens else self._of_classes)(model, batch, inputs)
        if self.hidden_size:
            known = answered(batch, self.kind)
            states = last_hidden_states(outputs, known).half().split(known.sum(-1).tolist())
            columns["teacher_states"] = [each.flatten().cpu().numpy() for each in states]
        return BatchPredictions(columns, 0.0, 0.0)

    def _of_classes(
        self, model: Any, batch: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        outputs: Any = model(**inputs)
        if "start_logits" in outputs:
            both = torch.stack([outputs.start_logits, outputs.end_logits], -1)
            found = [each[mask] for each, mask in zip(both, batch["attention_mask"].bool(), strict=True)]
        else:
            logits = outputs.logits
            known = labelled(batch["labels"], False) if self.kind == "tokens" else None
            found = logits if known is None else [each[row] for each, row in zip(logits, known, strict=True)]
        return {"teacher_values": [each.float().flatten().tolist() for each in found]}, outputs

    def _of_tokens(self, model: Any, batch: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        known = labelled(batch["labels"], self.kind == "next_token")
        if hasattr(model, SHIFT):
            inputs = {**inputs, "decoder_input_ids": getattr(model, SHIFT)(labels=batch["labels"])}
        outputs = selected_logits(model, inputs, known)
        logits = outputs.logits[0][:, : self.vocabulary].float()
        top = (logits / self.temperature).log_softmax(-1).topk(self.top_k, -1)
        sizes = known.sum(-1).tolist()
        return {
            "teacher_values": [each.flatten().tolist() for each in top.values.split(sizes)],
            "teacher_ids": [each.flatten().tolist() for each in top.indices.split(sizes)],
        }, outputs

    def bytes_of(self, rows: Any, collate: Callable[..., Any]) -> int:
        """Return about how many bytes the answers to `rows` (a `TokenRows`) need, from some of them."""
        places = np.unique(np.linspace(0, len(rows) - 1, SAMPLED).astype(int))
        return round(sum(self._bytes(collate([rows[int(at)]])) for at in places) / len(places) * len(rows))

    def _bytes(self, batch: Mapping[str, Any]) -> int:
        positions = int(answered(batch, self.kind).sum())
        values = positions * (self.top_k if self.is_of_tokens else self.classes)
        if self.kind in ("rows", None):
            values = 2 * positions if "start_positions" in batch else self.classes
        return values * (12 if self.is_of_tokens else 4) + positions * self.hidden_size * 2

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return found


def _known(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the teacher's architecture reads of a batch made for the student's, without labels. With a cache,
    texts in one row would not be separated."""
    reads = signature(model.forward).parameters
    given = {name: each for name, each in batch.items() if name not in LABELS} | {"use_cache": False}
    return {name: each for name, each in given.items() if name in reads}
