"""Rows with some of their tokens masked, differently in every epoch, as a pure function of seed, epoch and row.

A collator that draws from a shared generator masks differently after a resume, because batches are prefetched. Nothing
here depends on shared state, so it does not matter which process reads a row, or when.
"""

from typing import Any

import numpy as np
import torch

from tasks.data.tokens.dataset import TokenRows

IGNORED = -100
PROBABILITY = 0.15
LOW = np.uint64(0xFFFFFFFF)


class MaskedRows(TokenRows):
    """Rows for masked language modeling (BERT, arXiv:1810.04805, 3.1): a share of the tokens is chosen; of these 80 %
    become the mask token, 10 % a random token, 10 % stay. `labels` are the original tokens where chosen, else -100.
    Special tokens are never chosen; in every row with other tokens at least one is chosen.

    `processor` must have `mask_token_id`, `special_ids` and `vocab_size`; `options` may have `mlm_probability`.
    """

    replaced, kept = 0.1, 0.1

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._epoch = torch.zeros(
            (), dtype=torch.int64
        ).share_memory_()  # shared, so that loader processes see it change
        self._special = np.asarray(sorted(self.processor["special_ids"]))
        self._probability = self.options.get("mlm_probability") or PROBABILITY

    def enter_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        draws = np.random.PCG64([self.seed, int(self._epoch), index % len(self)]).random_raw(len(row["input_ids"]) + 1)
        return row | self.masked(row["input_ids"], draws)

    def masked(self, ids: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Return `input_ids` and `labels` of a row.

        `draws` are from numpy's PCG64, seeded with (seed, epoch, row): 64 bits for each token and one more. The high
        half decides whether the token is chosen, the low half what replaces it.
        """
        free = ~np.isin(ids, self._special)
        high = (draws[:-1] >> np.uint64(32)) / 2.0**32
        low = (draws[:-1] & LOW) / 2.0**32
        chosen = free & (high < self._probability)
        if not chosen.any() and free.any():
            among = np.flatnonzero(free)
            chosen[among[int(draws[-1] % np.uint64(len(among)))]] = True
        labels = np.where(chosen, ids, IGNORED).astype(np.int64)
        masked = ids.astype(np.int64)
        masked[chosen & (low < 1 - self.replaced - self.kept)] = self.processor["mask_token_id"]
        other = chosen & (low >= 1 - self.replaced - self.kept) & (low < 1 - self.kept)
        spread = (low[other] - (1 - self.replaced - self.kept)) / self.replaced
        masked[other] = (spread * self.processor["vocab_size"]).astype(np.int64)
        return {"input_ids": masked, "labels": labels}


class AlwaysMaskedRows(MaskedRows):
    """Rows in which all chosen tokens become the mask token, for a generator to fill in (ELECTRA, arXiv:2003.10555).

    `draws`, the low halves, choose the generator's samples, so that a row gets the same ones in any batch.
    """

    replaced, kept = 0.0, 0.0

    def masked(self, ids: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
        return super().masked(ids, draws) | {"draws": (draws[:-1] & LOW).astype(np.int64)}
