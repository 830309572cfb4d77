"""What a sweep leaves: its record in the store, a page and tables in `<output_dir>/grid`, artifacts in Prefect's UI."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flows.sweep.execute import Grid
from tasks.artifacts.formats import json as jsons
from tasks.evaluation.attempt import attempt
from tasks.execution.execute import open_store
from tasks.runtime.log import warn
from tasks.sweep.page import data_uri, markdown_table, page
from tasks.sweep.picture import draw, draw_curves

FOLDER = "grid"


def publish(grid: Grid) -> None:
    """Write the record and the files, and show them; a picture that cannot be drawn loses nothing else."""
    config = grid.base.base.config
    open_store(config.store).backend.write(
        f"grids/{grid.run}.json", json.dumps(summary(grid), indent=1, ensure_ascii=False).encode()
    )
    pictures = attempt("drawing the sweep", lambda: _pictures(grid), {}, warn)
    if config.output_dir:
        output_dir = Path(config.output_dir).expanduser()
        attempt("writing the leaderboard", lambda: _write(grid, output_dir, pictures), None, warn)
    attempt("showing the leaderboard in Prefect", lambda: _show(grid, pictures), None, warn)


def summary(grid: Grid) -> dict[str, Any]:
    """A sweep as JSON: `cells`, `best`, `built`, and what else `finetune grid --json` prints."""
    cells = []
    for cell in grid.cells:
        outcome = grid.outcomes.get(cell.index)
        said = {"state": "interrupted"} if outcome is None else {
            "state": outcome.state, "metrics": outcome.metrics, "run": outcome.run, "error": outcome.error,
            "steps": outcome.steps, "seconds": outcome.seconds,
            "rungs": {f"{share:.4g}": metrics for share, metrics in outcome.rungs.items()},
        }  # fmt: skip
        cells.append({"overrides": dict(cell.overrides), "group": cell.group, **said})
    board = [{**row.__dict__, "overrides": dict(row.overrides)} for row in grid.rows]
    return jsons.finite({
        "grid": grid.run, "state": grid.state, "metric": grid.goal.metric,
        "greater_is_better": grid.goal.greater_is_better, "cells": cells, "leaderboard": board, "best": grid.best,
        "built": grid.built, "rungs": grid.rungs, "steps": grid.steps,
    })  # fmt: skip


def lead(grid: Grid) -> list[str]:
    """What there is to say above the leaderboard."""
    done = len(grid.cells) - len(grid.failed)
    lines = [f"{done} of {len(grid.cells)} cells did what they should, ranked by {grid.goal.metric} on the validation "
             f"rows ({'greater' if grid.goal.greater_is_better else 'less'} is better)."]  # fmt: skip
    if grid.best:
        test = {name: value for name, value in grid.best["metrics"].items() if name.startswith("test_")}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in list(test.items())[:4] if value is not None)
        where = grid.best["path"] or grid.best["kept"] or "in the store; set output_dir to have it as a folder"
        scored = f" On the test rows, scored once: {shown}." if shown else ""
        lines.append(f"Best: {_said(grid.best['overrides'])}.{scored} Its model: {where}.")
    built = ", ".join(f"{stage} {count}" for stage, count in grid.built.items())
    lines.append(f"Stages built, over all cells: {built or 'none; everything was there'}.")
    if grid.rungs:
        rungs = "; ".join(_rung(rung) for rung in grid.rungs)
        spent, full = grid.steps["spent"], grid.steps["full"]
        lines.append(f"Halving: {rungs}. {spent} of {full} steps were taken ({spent / max(full, 1):.0%}). A low rank "
                     "correlation between rungs says that early ranking chose by chance.")  # fmt: skip
    return lines


def _rung(rung: dict[str, Any]) -> str:
    told = f", rank correlation with the rung before {rung['agreement']:.2f}" if rung["agreement"] is not None else ""
    return f"{rung['groups']} up to {rung['share']:.0%} of the training{told}"


def _said(overrides: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in overrides.items()) or "the config as it is"


def _pictures(grid: Grid) -> dict[str, bytes]:
    goal = grid.goal
    found = {f"{goal.metric} by axis": draw(grid.rows, goal.metric, goal.greater_is_better)}
    curves = draw_curves(grid.cells, grid.outcomes, goal.metric, grid.best["cell"] if grid.best else None)
    return found | ({"learning curves": curves} if curves else {})


def _write(grid: Grid, output_dir: Path, pictures: dict[str, bytes]) -> None:
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    folder = output_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    table = grid.table
    parquet.write_table(table, folder / "leaderboard.parquet")
    csv.write_csv(table, folder / "leaderboard.csv")
    (folder / "grid.html").write_text(page(f"Sweep {grid.run}", lead(grid), table, pictures))
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
    told = "\n\n".join(lead(grid))
    text = f"# Sweep {grid.run}\n\n{told}\n\n{markdown_table(grid.table)}\n\n{drawn}\n"
    create_markdown_artifact(key="grid", markdown=text, description="leaderboard and pictures")
    create_table_artifact(key="leaderboard", table=jsons.finite(grid.table.to_pylist()), description="cells by rank")
