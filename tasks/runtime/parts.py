"""Predict many rows in parts, each an artifact of its own, so that a build that was killed resumes at the first missing
one."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tasks.config.json_types import JsonObject
from tasks.runtime.build import Build
from tasks.runtime.progress import RowProgress

PART = 512  # rows
MEMBER = "part.arrow"


class _Part:
    """Some of the rows of a view, in order."""

    def __init__(self, rows: Any, start: int) -> None:
        self.rows, self.start, self.end = rows, start, min(start + PART, len(rows))
        self.table = rows.table.slice(start, PART)
        self._lengths = rows.lengths()[start : self.end]

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, index: int) -> Any:
        return self.rows[self.start + index]

    def lengths(self) -> list[int]:
        return self._lengths


def predicted_in_parts(
    build: Build, rows: Any, key: Mapping[str, object], model_of: Callable[[], Any], collate: Any, predictor: Any,
    plan: JsonObject, progress: RowProgress,
) -> list[Path]:  # fmt: skip
    """Return the files with the predictions for all rows, in order.

    Args:
        rows: a `TokenRows`. key: tells the parts from others of the same build. model_of: returns the model, loaded
            when the first missing part is computed. predictor: see `tasks.evaluation.predictor.Predictor`; its `rows`
            returns one row each. plan: with `arguments` (batch size, precision) and `device`.
    """
    found: list[Path] = []
    for start in range(0, len(rows), PART):
        write = partial(_write, model_of, _Part(rows, start), collate, predictor, plan, progress, len(rows))
        piece = build.piece({**key, "from": start}, make=write)
        found.append(build.store.path(piece.members[MEMBER]))
    return found


def _write(
    model_of: Callable[[], Any], rows: _Part, collate: Any, predictor: Any, plan: JsonObject, progress: RowProgress,
    total: int, out: Path,
) -> dict[str, int]:  # fmt: skip
    from tasks.evaluation.inference import predict_table

    def report(done: int, _: int) -> None:
        progress.rows(rows.start + done, total)

    predict_table(model_of(), rows, collate, predictor, plan, out / MEMBER, report)  # type: ignore[arg-type]
    return {"rows": len(rows)}
