"""`finetune grid`: run a config's `sweep`."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from flows.verbs.common import Verbs, add_config_arguments, add_overwrite_argument, load_config, on_server_ready

if TYPE_CHECKING:
    from flows.sweep.execute import CellProgress

PARTIAL = 6
WHAT = "run a config's sweep: one run per combination of values, the best one is kept"


def add(verbs: Verbs) -> None:
    """Add this verb to the command."""
    sub = verbs.add_parser("grid", help=WHAT, description=WHAT)
    add_config_arguments(sub)
    add_overwrite_argument(sub)
    sub.add_argument("--runner", help="where cells run: processes (on this machine), ray or dask; sets sweep.runner")
    sub.set_defaults(verb=_grid, goes_on=True)


def _grid(options: argparse.Namespace) -> int:
    from tasks.config import load_sweep

    loaded = load_config(options, load_sweep)
    from flows.sweep.api import run_sweep

    done = run_sweep(loaded, listener=None if options.json else print_cell, on_server=on_server_ready)
    if options.json:
        from flows.sweep.report import summary

        print(json.dumps(summary(done)))
    else:
        from flows.terminal.grid import show_grid

        show_grid(done)
    return PARTIAL if done.state == "partial" else 0


def print_cell(event: "CellProgress") -> None:
    """Print a cell's outcome; why it failed is a separate warning."""
    outcome = event.outcome
    found = ((name, value) for name, value in outcome.metrics.items() if name != "eval_loss" and value is not None)
    score = next((f"{name} {value:.4f}" for name, value in found), "")
    place, seconds = f"{event.done:>3}/{event.of}", f"{outcome.seconds:6.1f} s"
    print(f"  {place} {outcome.state:<11} {seconds}  {event.label}  {score}", file=sys.stderr)
