"""Write a sweep's results: a record in the store, a page and tables in `<output_dir>/grid`, artifacts in Prefect."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flows.sweep.result import Grid
from tasks.artifacts.formats import json as jsons
from tasks.evaluation.attempt import attempt
from tasks.execution.execute import open_store
from tasks.runtime.log import warn
from tasks.sweep.page import data_uri, markdown_table, page
from tasks.sweep.picture import draw, draw_curves
from tasks.sweep.summary import lead

FOLDER, PAGE = "grid", "grid.html"


def publish(grid: Grid) -> None:
    """Write the record and the files, and show them in Prefect; a plot that fails does not stop the rest."""
    config = grid.base.base.config
    write_record(grid)
    pictures = attempt("drawing the sweep", lambda: _pictures(grid), {}, warn)
    if config.output_dir:
        folder = _folder(config.output_dir)
        attempt("writing the leaderboard", lambda: _write(grid, folder, pictures), None, warn)
    attempt("showing the leaderboard in Prefect", lambda: _show(grid, pictures), None, warn)


def write_record(grid: Grid) -> None:
    """Write what the store remembers of a sweep, in place of what it has."""
    record = json.dumps(summary(grid), indent=1, ensure_ascii=False).encode()
    open_store(grid.base.base.config.store).backend.write(f"grids/{grid.run}.json", record)


def note(grid: Grid) -> None:
    """Write the record of a sweep that has no leaderboard yet; that it cannot be written stops nothing."""
    attempt("writing the sweep's record", lambda: write_record(grid), None, warn)


def summary(grid: Grid) -> dict[str, Any]:
    """Return a sweep as JSON: `cells`, `best`, `built` and the other fields that `finetune grid --json` prints."""
    cells = []
    for cell in grid.cells:
        outcome = grid.outcomes.get(cell.index)
        result = {"state": "interrupted"} if outcome is None else {
            "state": outcome.state, "metrics": outcome.metrics, "run": outcome.run, "error": outcome.error,
            "steps": outcome.steps, "seconds": outcome.seconds,
            "rungs": {f"{share:.4g}": metrics for share, metrics in outcome.rungs.items()},
        }  # fmt: skip
        cells.append({"overrides": dict(cell.overrides), "group": cell.group, **result})
    config = grid.base.base.config
    report = _folder(config.output_dir) / PAGE if config.output_dir else None
    board = [{**row.__dict__, "overrides": dict(row.overrides)} for row in grid.rows]
    return jsons.finite({
        "grid": grid.run, "state": grid.state, "metric": grid.goal.metric,
        "greater_is_better": grid.goal.greater_is_better, "cells": cells, "leaderboard": board, "best": grid.best,
        "built": grid.built, "rungs": grid.rungs, "steps": grid.steps, "started": grid.started, "ended": grid.ended,
        "name": config.name, "task": config.task, "model": config.model.name, "report": str(report) if report else None,
    })  # fmt: skip


def _pictures(grid: Grid) -> dict[str, bytes]:
    goal = grid.goal
    found = {f"{goal.metric} by axis": draw(grid.rows, goal.metric, goal.greater_is_better)}
    curves = draw_curves(grid.cells, grid.outcomes, goal.metric, grid.best["cell"] if grid.best else None)
    return found | ({"learning curves": curves} if curves else {})


def _folder(output_dir: str) -> Path:
    return Path(output_dir).expanduser().absolute() / FOLDER


def _write(grid: Grid, folder: Path, pictures: dict[str, bytes]) -> None:
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True, exist_ok=True)
    table = grid.table
    parquet.write_table(table, folder / "leaderboard.parquet")
    csv.write_csv(table, folder / "leaderboard.csv")
    (folder / PAGE).write_text(page(f"Sweep {grid.run}", lead(summary(grid)), table, pictures))
    (folder / "grid.json").write_text(jsons.text(summary(grid)))
    for name, png in pictures.items():
        (folder / f"{name.replace(' ', '-')}.png").write_bytes(png)


def _show(grid: Grid, pictures: dict[str, bytes]) -> None:
    if "prefect" not in sys.modules:
        return
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return
    drawn = "\n\n".join(f"## {name}\n\n![{name}]({data_uri(png)})" for name, png in pictures.items())
    lines = "\n\n".join(lead(summary(grid)))
    text = f"# Sweep {grid.run}\n\n{lines}\n\n{markdown_table(grid.table)}\n\n{drawn}\n"
    create_markdown_artifact(key="grid", markdown=text, description="leaderboard and pictures")
    create_table_artifact(key="leaderboard", table=jsons.finite(grid.table.to_pylist()), description="cells by rank")
