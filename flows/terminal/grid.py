"""What a person sees of a sweep in a terminal: its costs before, its leaderboard after."""

import json
import shlex

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.sweep.execute import Grid
from flows.sweep.plan import SweepCost
from flows.sweep.report import lead
from tasks.execution.estimate import in_bytes, lasting
from tasks.sweep.cells import shown

COLOURS = {"completed": "green", "paused": "dim", "failed": "red", "killed": "red", "interrupted": "yellow"}


def show_sweep_plan(costs: SweepCost) -> None:
    """Print what a sweep would do and cost."""
    console = Console()
    table = Table("stage", "to build", "found", title=f"{costs.cells} cells, and the best one tested and saved")
    for stage, counts in costs.stages.items():
        table.add_row(stage, str(counts["built"] or ""), str(counts["found"] or ""))
    console.print(table)
    if costs.looked_at < costs.cells:
        console.print(f"reckoned from {costs.looked_at} of the cells", highlight=False)
    if len(costs.rungs) > 1:
        rungs = ", ".join(f"{count} up to {share:.0%}" for share, count in costs.rungs)
        console.print(f"halving: {rungs} of the training", highlight=False)
    if costs.steps is None or costs.full is None or costs.memory is None or costs.disk is None:
        console.print("steps, tokens and memory are known once the stages before s08_trainer are")
        return
    places = ", ".join(f"{count} at once on {device}" for device, count in costs.at_once.items())
    console.print(
        f"training: {costs.steps:,} steps of {costs.full:,} without halving and with nothing found; {places}, "
        f"which takes about {in_bytes(costs.memory)} of memory; at most {in_bytes(costs.disk)} of disk",
        highlight=False,
    )
    took = "is known once one like it was trained here" if costs.seconds is None else f"about {lasting(costs.seconds)}"
    console.print(f"time of training: {took}", highlight=False)


def show_grid(grid: Grid) -> None:
    """Print the leaderboard, what it says, and how to have the best cell again."""
    axes = list(dict.fromkeys(name for row in grid.rows for name in row.overrides))
    metric = grid.goal.metric
    others = [name for name in dict.fromkeys(n for row in grid.rows for n in row.metrics) if name != metric][:2]
    trained = ["trained"] if any(row.share < 1 for row in grid.rows) else []
    short = [name.rpartition(".")[2] for name in axes]
    table = Table("rank", *short, metric, *others, *trained, "state", title="leaderboard")
    for row in grid.rows:
        colour = COLOURS[row.state]
        value = "" if row.value is None else f"{row.value:.4f}"
        spread = "" if row.spread is None else f" ± {row.spread:.4f}"
        table.add_row(
            str(row.rank or ""), *(escape(shown(row.overrides.get(name, ""))) for name in axes), value + spread,
            *(f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in others),
            *([f"{row.share:.0%}"] if trained else []), f"[{colour}]{row.state}[/{colour}]",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for row in grid.rows:
        if row.error:
            said = ", ".join(f"{name}={shown(value)}" for name, value in row.overrides.items())
            console.print(f"{said}: {row.error}", style="red", markup=False, highlight=False)
    for line in lead(grid):
        console.print(line, markup=False, highlight=False)
    if grid.best:
        words = " ".join(shlex.quote(f"{name}={json.dumps(value)}") for name, value in grid.best["overrides"].items())
        console.print(f"the best cell alone is: finetune run … {words}", markup=False, highlight=False)
