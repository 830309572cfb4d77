"""Batches: what padding on either side does to what the rows hold."""

from typing import Any

import numpy as np
import pytest

from tasks.data.tokens.collate import PadBatch


@pytest.mark.parametrize("side", ["right", "left"])
def test_positions_point_at_the_same_tokens_wherever_padding_stands(side: str) -> None:
    rows: list[dict[str, Any]] = [
        {"input_ids": np.arange(1, length + 1), "start_positions": start, "end_positions": end}
        for length, start, end in ((3, 1, 2), (7, 0, 5), (5, 4, 4))
    ]
    batch = PadBatch({"pad_token_id": 0, "padding_side": side})(rows)
    assert batch["input_ids"].shape == (3, 7) and batch["attention_mask"].sum(1).tolist() == [3, 7, 5]
    for name in ("start_positions", "end_positions"):
        found = batch["input_ids"].gather(1, batch[name][:, None])[:, 0]
        assert found.tolist() == [row["input_ids"][row[name]] for row in rows]
