"""Rows to one padded batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


class PadBatch:
    """Pads each batch to its own longest row and makes the attention mask, which no file needs to hold.

    Args:
        padding: what the tokenizer says of padding: `pad_token_id`, `padding_side` (`right` or `left`),
            `pad_token_type_id`.
        pad_to_multiple_of: round the width up (tensor cores like 8).

    Returns (called):
        `input_ids`, `attention_mask` and, if the rows have them, `token_type_ids` as int64 of shape
        (batch, width), and `labels` as int64 of shape (batch,).
    """

    def __init__(self, padding: Mapping[str, Any], pad_to_multiple_of: int | None = None) -> None:
        self.padding = dict(padding)
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(row["input_ids"]) for row in rows]
        width = max(lengths)
        if self.pad_to_multiple_of:
            width = -(-width // self.pad_to_multiple_of) * self.pad_to_multiple_of
        fill = {"input_ids": self.padding["pad_token_id"], "token_type_ids": self.padding.get("pad_token_type_id", 0)}
        batch: dict[str, torch.Tensor] = {}
        for name in rows[0]:
            if name in fill:
                batch[name] = torch.from_numpy(self._pad([row[name] for row in rows], width, fill[name]))
            else:
                batch[name] = torch.as_tensor(np.asarray([row[name] for row in rows]))
        ones = [np.ones(length, dtype=np.int64) for length in lengths]
        batch["attention_mask"] = torch.from_numpy(self._pad(ones, width, 0))
        return batch

    def _pad(self, values: Sequence[np.ndarray], width: int, fill: int) -> np.ndarray:
        padded = np.full((len(values), width), fill, dtype=np.int64)
        for row, value in zip(padded, values, strict=True):
            if self.padding.get("padding_side") == "left":
                row[width - len(value) :] = value
            else:
                row[: len(value)] = value
        return padded
