"""Token rows with another model's answers, which are in files of their own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.dataset import TokenRows


class Opened(Protocol):
    """What is read of an artifact."""

    def paths(self, prefix: str) -> Mapping[str, Path]:
        """Return the files whose names begin so, by name."""
        ...


def answers_name(epoch: int) -> str:
    """Return the name of the file with the answers to the rows of an epoch."""
    return f"answers-{epoch:04d}.arrow"


class AnsweredRows(TokenRows):
    """`rows`, each with the answer of its epoch as columns `teacher_…`.

    Args:
        answers: an artifact with one file for all epochs or, if rows change from epoch to epoch, one for each.
    """

    def __init__(self, rows: TokenRows, answers: Opened) -> None:
        super().__init__(rows.table, rows.processor, rows.seed, rows.options)
        self._rows = rows
        files = answers.paths("answers-")
        self._answers = [TokenRows(open_table(files[name]), rows.processor) for name in sorted(files)]
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # seen by loader processes

    def __getitem__(self, index: int) -> dict[str, Any]:
        answers = self._answers[int(self._epoch) if len(self._answers) > 1 else 0]
        return self._rows[index] | answers[index]

    def enter_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)
        self._rows.enter_epoch(epoch)


class WithAnswers:
    """A collator that joins the columns of answers of a batch, one row after another, as rows may have different
    numbers of values; the other columns are for `collate`."""

    def __init__(self, collate: Callable[..., Any], columns: Sequence[str]) -> None:
        self.inner, self.columns = collate, columns

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = self.inner([{name: each for name, each in row.items() if name not in self.columns} for row in rows])
        for name in self.columns:
            if name in rows[0]:
                batch[name] = torch.from_numpy(np.concatenate([row[name] for row in rows]))
        return batch
