"""Collators that pad rows to a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

IGNORED = -100


class PadBatch:
    """Pads each batch to its longest row and computes the attention mask, which is not stored in files.

    Args:
        processor: the tokenizer's padding settings: `pad_token_id`, `padding_side` (`right` or `left`),
            `pad_token_type_id`.
        pad_to_multiple_of: round the width up (tensor cores like 8).

    Returns (called):
        `input_ids`, `attention_mask` and, if the rows have them, `token_type_ids` as int64 of shape
        (batch, width); one value per row as (batch,), labels of several classes as (batch, classes).
    """

    # Columns with one value per token, and their fill value for padding.
    filled: Mapping[str, str | int] = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}
    # Columns that are token positions in the row, which padding on the left shifts.
    positions = ("start_positions", "end_positions")

    def __init__(self, processor: Mapping[str, Any], pad_to_multiple_of: int | None = None) -> None:
        self.processor = dict(processor)
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(row["input_ids"]) for row in rows]
        batch: dict[str, torch.Tensor] = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if name in self.filled:
                batch[name] = torch.from_numpy(self._pad(values, self._fill(name)))
            else:
                batch[name] = torch.as_tensor(np.asarray(values))
        if self.processor.get("padding_side") == "left":
            for name in batch.keys() & set(self.positions):
                batch[name] = batch[name] + (batch["input_ids"].shape[1] - torch.as_tensor(lengths))
        ones = [np.ones(length, dtype=np.int64) for length in lengths]
        batch["attention_mask"] = torch.from_numpy(self._pad(ones, 0))
        return batch

    def _fill(self, name: str) -> int:
        fill = self.filled[name]
        return fill if isinstance(fill, int) else int(self.processor.get(fill) or 0)

    def _pad(self, values: Sequence[np.ndarray], fill: int) -> np.ndarray:
        width = max(len(value) for value in values)
        if self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        padded = np.full((len(values), width), fill, dtype=np.int64)
        for row, value in zip(padded, values, strict=True):
            if self.processor.get("padding_side") == "left":
                row[width - len(value) :] = value
            else:
                row[: len(value)] = value
        return padded


class PromptBatch(PadBatch):
    """`PadBatch` with padding on the left, so that generated tokens directly follow each text."""

    def __init__(self, processor: Mapping[str, Any], pad_to_multiple_of: int | None = None) -> None:
        super().__init__({**processor, "padding_side": "left"}, pad_to_multiple_of)


class PromptRows(PromptBatch):
    """`PromptBatch` for rows with a text, `row`, which is passed on as a list."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = super().__call__([{"input_ids": row["input_ids"]} for row in rows])
        return {**batch, "row": [str(row["row"]) for row in rows]}


class PadTokenLabels(PadBatch):
    """`PadBatch` with `labels`, one per token or per target token, padded with -100."""

    filled: Mapping[str, str | int] = {**PadBatch.filled, "labels": IGNORED}


class PadMaskedBatch(PadTokenLabels):
    """`PadTokenLabels` with `draws`, the random numbers that choose a generator's samples."""

    filled: Mapping[str, str | int] = {**PadTokenLabels.filled, "draws": 0}


class ConversationBatch(PadTokenLabels):
    """`PadTokenLabels` for conversations, several in one row if it has `position_ids`: see `CausalBatch`."""

    filled: Mapping[str, str | int] = {**PadTokenLabels.filled, "position_ids": 0}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        if "position_ids" not in rows[0]:
            return super().__call__(rows)
        batch = super().__call__(
            [{**row, "labels": np.where(row["position_ids"] == 0, IGNORED, row["labels"])} for row in rows]
        )
        del batch["attention_mask"]
        return batch


class PairBatch(PadBatch):
    """`PadBatch` for rows with two answers each.

    Returns (called):
        `input_ids`, `attention_mask` and `completion_mask` as int64 of shape (2 · batch, width): first the chosen
        answers, then the rejected ones; one value per row, such as `margin`, as (batch,), two as (batch, 2).
    """

    filled: Mapping[str, str | int] = {**PadBatch.filled, "completion_mask": 0}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        sides = [
            {name: row[f"{side}_{name}"] for name in ("input_ids", "completion_mask")}
            for side in ("chosen", "rejected")
            for row in rows
        ]
        single = [name for name in rows[0] if not name.startswith(("chosen_", "rejected_"))]
        return super().__call__(sides) | {
            name: torch.as_tensor(np.asarray([row[name] for row in rows])) for name in single
        }


class CausalBatch(PadBatch):
    """`PadBatch` for causal language models: `labels` are the tokens themselves, -100 for padding.

    Padding is determined by length, not by token: a model must learn the end token even if it is also the pad token.
    Rows with `position_ids` are several texts: no mask is returned (the model then separates them by position), and no
    text's first token is predicted from the text before it.
    """

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        labels = [row["input_ids"] for row in rows]
        if "position_ids" in rows[0]:
            labels = [np.where(row["position_ids"] == 0, IGNORED, row["input_ids"]) for row in rows]
        batch = super().__call__([{"input_ids": row["input_ids"]} for row in rows])
        batch["labels"] = torch.from_numpy(self._pad(labels, IGNORED))
        if "position_ids" in rows[0]:
            batch["position_ids"] = torch.from_numpy(self._pad([row["position_ids"] for row in rows], 0))
            del batch["attention_mask"]
        return batch
