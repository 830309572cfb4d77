"""Progress of an evaluation within a training."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class WatchEvaluation(TrainerCallback):
    """Reports the rows that an evaluation has scored to a listener.

    Args:
        on_rows: (rows done, total rows).
    """

    def __init__(self, on_rows: Callable[[int, int], None]) -> None:
        self.on_rows, self._done = on_rows, 0

    def on_prediction_step(
        self, args: TrainingArguments, state: object, control: object, eval_dataloader: Any = None, **_: object
    ) -> None:
        rows = len(eval_dataloader.dataset)
        self._done = min(self._done + args.eval_batch_size, rows)
        self.on_rows(self._done, rows)
        self._done %= rows

    def on_evaluate(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._done = 0
