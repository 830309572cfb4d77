"""A sweep in a terminal: its estimated costs, its leaderboard."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tasks.execution.estimate import format_bytes, format_duration
from tasks.objectives.headline import headline
from tasks.results.report_markdown import number
from tasks.sweep.cells import shown
from tasks.sweep.summary import lead

if TYPE_CHECKING:
    from flows.sweep.plan import SweepCost
    from flows.sweep.result import Grid

COLOURS = {"completed": "green", "paused": "dim", "failed": "red", "killed": "red", "interrupted": "yellow"}


def show_sweep_plan(costs: SweepCost) -> None:
    """Print what a sweep would do and cost."""
    console = Console()
    table = Table("stage", "to build", "found", title=f"{costs.cells} cells, and the best one tested and saved")
    for stage, counts in costs.stages.items():
        table.add_row(stage, str(counts["built"] or ""), str(counts["found"] or ""))
    console.print(table)
    if costs.looked_at < costs.cells:
        console.print(f"extrapolated from {costs.looked_at} of the cells", highlight=False)
    if len(costs.rungs) > 1:
        rungs = ", ".join(f"{count} up to {share:.0%}" for share, count in costs.rungs)
        console.print(f"halving: {rungs} of the training", highlight=False)
    if costs.steps is None or costs.full is None or costs.memory is None or costs.disk is None:
        console.print("steps, tokens and memory are known once the stages before s08_trainer have run")
        return
    places = ", ".join(f"{count} at once on {device}" for device, count in costs.at_once.items())
    console.print(
        f"training: {costs.steps:,} steps ({costs.full:,} without halving and cached results); {places}, "
        f"which takes about {format_bytes(costs.memory)} of memory; at most {format_bytes(costs.disk)} of disk",
        highlight=False,
    )
    took = (
        "is known once a similar one has run here"
        if costs.seconds is None
        else f"about {format_duration(costs.seconds)}"
    )
    console.print(f"time of training: {took}", highlight=False)


def show_grid(grid: Grid) -> None:
    """Print the leaderboard of a sweep that has just ended."""
    from flows.sweep.report import summary

    show_sweep(summary(grid))


def show_sweep(found: Mapping[str, Any]) -> None:
    """Print a sweep's leaderboard, its summary, where its page is, and how to run the best cell again.

    Args:
        found: its summary, or its record in the store.
    """
    console = Console(width=None if sys.stdout.isatty() else 160)  # do not cut to 80 columns in a file or a pipe
    console.print(_leaderboard(found))
    for row in found["leaderboard"]:
        if row["error"]:
            settings = ", ".join(f"{name}={shown(value)}" for name, value in row["overrides"].items())
            console.print(f"{settings}: {row['error']}", style="red", markup=False, highlight=False)
    for line in lead(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.get("report") and Path(found["report"]).is_file():
        console.print(f"report: {found['report']}", markup=False, highlight=False, soft_wrap=True)
    if best := found["best"]:
        words = " ".join(shlex.quote(f"{name}={json.dumps(value)}") for name, value in best["overrides"].items())
        console.print(f"to run the best cell alone: finetune run CONFIG {words}", markup=False, highlight=False,
                      soft_wrap=True)  # fmt: skip


def _leaderboard(found: Mapping[str, Any]) -> Table:
    """Return a row for each group of cells that differ only in the seed, with the runs of its cells."""
    rows, metric = found["leaderboard"], found["metric"]
    axes = list(dict.fromkeys(name for row in rows for name in row["overrides"]))
    computed = {name: value for row in rows for name, value in row["metrics"].items() if value is not None}
    others = [name for name in headline(found.get("task") or "", None, computed) if name != metric][:2]
    trained = ["trained"] if any(row["share"] < 1 for row in rows) else []
    short = [name.rpartition(".")[2] for name in axes]
    table = Table("rank", *short, metric, *others, *trained, "state", "run", title="leaderboard")
    table.columns[-1].no_wrap = True
    for row in rows:
        colour, cells = COLOURS.get(row["state"], ""), [c for c in found["cells"] if c["group"] == row["group"]]
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        spread = "" if row["spread"] is None else f" ± {row['spread']:.4f}"
        table.add_row(
            str(row["rank"] or ""), *(escape(shown(row["overrides"].get(name, ""))) for name in axes), value + spread,
            *(number(row["metrics"].get(name)) for name in others), *([f"{row['share']:.0%}"] if trained else []),
            Text(row["state"], colour), "\n".join(cell["run"] for cell in cells if cell.get("run")),
        )  # fmt: skip
    return table
