"""Describe a finished sweep in sentences, from its summary (`finetune grid --json`, the record in the store)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.objectives.headline import headline
from tasks.sweep.halving import LEAST_RANKED

SHOWN_METRICS = 4


def lead(summary: Mapping[str, Any]) -> list[str]:
    """Return the sentences shown with a leaderboard: cells that succeeded, the best one, stages built, halving."""
    cells, best = summary["cells"], summary["best"]
    done = sum(cell["state"] in ("completed", "paused") for cell in cells)
    better = "greater" if summary["greater_is_better"] else "less"
    lines = [f"{done} of {len(cells)} cells succeeded, ranked by {summary['metric']} on the validation rows "
             f"({better} is better)."]  # fmt: skip
    if best:
        test = {name: value for name, value in best["metrics"].items() if name.startswith("test_")}
        names = headline(summary.get("task") or "", summary["metric"].removeprefix("eval_"), test)[:SHOWN_METRICS]
        shown = ", ".join(f"{name} {test[name]:.4g}" for name in names)
        where = best["path"] or best.get("kept") or "in the store; set output_dir to write it to a folder"
        scored = f" On the test rows, scored once: {shown}." if shown else ""
        lines.append(f"Best: {format_overrides(best['overrides'])}.{scored} Its model: {where}.")
    built = ", ".join(f"{stage} {count}" for stage, count in summary["built"].items())
    ended = summary["state"] in ("completed", "partial", "failed")
    lines.append(f"Stages built, over all cells: {built or ('none, all were cached' if ended else 'none yet')}.")
    if summary["state"] in ("interrupted", "killed"):
        lines.append(f"The sweep was {summary['state']}; the same command goes on with what is missing.")
    if summary["rungs"]:
        rungs = "; ".join(_rung(rung, first=not at) for at, rung in enumerate(summary["rungs"]))
        spent, full = summary["steps"]["spent"], summary["steps"]["full"]
        lines.append(f"Halving: {rungs}. {spent} of {full} steps were trained ({spent / max(full, 1):.0%}).")
        if any(rung["agreement"] is not None for rung in summary["rungs"]):
            lines.append("A low rank correlation between rungs means that the early ranking was mostly chance.")
    return lines


def format_overrides(overrides: Mapping[str, Any]) -> str:
    """Format a cell's overrides for a sentence."""
    return ", ".join(f"{name} = {value}" for name, value in overrides.items()) or "the config as it is"


def _rung(rung: Mapping[str, Any], first: bool) -> str:
    text = f"{rung['groups']} up to {rung['share']:.0%} of the training"
    if first:
        return text
    if rung["agreement"] is not None:
        return f"{text}, rank correlation with the rung before {rung['agreement']:.2f}"
    if (common := rung.get("common")) is None:  # records of earlier versions have no reason
        return f"{text}, no rank correlation with the rung before"
    why = f"{common} scored at both, at least {LEAST_RANKED} are needed" if common < LEAST_RANKED else "equal scores"
    return f"{text}, no rank correlation with the rung before ({why})"
