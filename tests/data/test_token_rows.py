"""Token rows of any shape: how long a row is, and batches of it."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.tokens.dataset import TokenRows
from tasks.data.tokens.token_table import longest_of, token_lengths

IDS = pa.list_(pa.int32())


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_row_is_as_long_as_all_its_ids(chunks: int) -> None:
    chosen = pa.chunked_array([pa.array([[1, 2], [3], [], [4, 5, 6]], IDS)[at::chunks] for at in range(chunks)])
    rejected = pa.chunked_array([pa.array([[1], [1], [1], [1]], IDS)])
    table = pa.table({"chosen_input_ids": chosen, "rejected_input_ids": rejected, "other": [[1, 1]] * 4})
    assert longest_of(table).tolist() == [max(len(row), 1) for row in chosen.to_pylist()]
    expected = [len(row) + 1 for row in chosen.to_pylist()]
    assert token_lengths(table).tolist() == TokenRows(table, {}).lengths() == expected


def test_no_rows_have_no_lengths() -> None:
    table = pa.table({"input_ids": pa.chunked_array([], IDS)})
    assert token_lengths(table).dtype == np.int64 and TokenRows(table, {}).lengths() == []
