"""What an evaluation within a training tells of itself."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class WatchEvaluation(TrainerCallback):
    """Tells a listener of the rows an evaluation has scored.

    Args:
        on_rows: (rows done, rows in all).
    """

    def __init__(self, on_rows: Callable[[int, int], None]) -> None:
        self.told, self._done = on_rows, 0

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        rows = len(eval_dataloader.dataset)
        self._done = min(self._done + args.eval_batch_size, rows)
        self.told(self._done, rows)
        self._done %= rows

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._done = 0
