"""Token rows for a data loader: the Arrow file is memory-mapped, and each row is a view of it."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset

from tasks.data.tokens.token_table import token_lengths


class TokenRows(Dataset[dict[str, Any]]):
    """Rows of a token table as `{column: 1-D array or number}`.

    Args:
        table: columns are `list<number>` (one value per token) or numbers (one per row); those that begin with `__`
            are lineage and not returned.
        processor: settings of the tokenizer, for subclasses that need them.
        seed: for subclasses that draw random numbers. options: the fields of `data` that subclasses read.
    """

    def __init__(
        self, table: pa.Table, processor: Mapping[str, Any], seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.table, self.processor, self.seed, self.options = table, processor, seed, dict(options or {})
        self._length = table.num_rows
        names = [name for name in table.column_names if not name.startswith("__")]
        self._columns = {name: _column(table[name]) for name in names}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return {name: column[index % self._length] for name, column in self._columns.items()}

    def enter_epoch(self, epoch: int) -> None:
        """Hook called before each epoch, for subclasses with rows that change."""

    def lengths(self) -> list[int]:
        """Return the number of tokens of each row."""
        return token_lengths(self.table).tolist()


class _Lists:
    """A list column as offsets and values per chunk: 0.5 µs per row, where access through a table takes 30."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._starts, self._chunks, start = [0], [], 0
        for chunk in column.chunks:
            self._chunks.append((chunk.offsets.to_numpy(), chunk.values.to_numpy()))
            start += len(chunk)
            self._starts.append(start)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = bisect_right(self._starts, index) - 1
        offsets, values = self._chunks[place]
        inner = index - self._starts[place]
        return values[offsets[inner] : offsets[inner + 1]]


def _column(column: pa.ChunkedArray) -> "_Lists | np.ndarray":
    return _Lists(column) if pa.types.is_list(column.type) else column.to_numpy()
