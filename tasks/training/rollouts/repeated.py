"""An order of rows in which each optimizer step's rows are repeated."""

from collections.abc import Iterable, Iterator
from typing import Any


class RepeatedBlocks:
    """Yields each full block of an order several times; a shorter one at the end is left out.

    Args:
        order: positions of rows, with a length. block: rows of an optimizer step. times: how often each is yielded.
    """

    def __init__(self, order: Iterable[int], block: int, times: int) -> None:
        self.order: Any = order
        self.block, self.times = block, times

    def __iter__(self) -> Iterator[int]:
        order = list(self.order)
        for start in range(0, len(order) // self.block * self.block, self.block):
            for _ in range(self.times):
                yield from order[start : start + self.block]

    def __len__(self) -> int:
        return len(self.order) // self.block * self.block * self.times
