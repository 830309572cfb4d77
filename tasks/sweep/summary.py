"""A finished sweep in sentences, from its summary (`finetune grid --json`, the record in the store)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.sweep.halving import LEAST_RANKED

SHOWN_METRICS = 4


def lead(summary: Mapping[str, Any]) -> list[str]:
    """The sentences that stand with a leaderboard: cells that succeeded, the best one, stages built, halving."""
    cells, best = summary["cells"], summary["best"]
    done = sum(cell["state"] in ("completed", "paused") for cell in cells)
    better = "greater" if summary["greater_is_better"] else "less"
    lines = [f"{done} of {len(cells)} cells succeeded, ranked by {summary['metric']} on the validation rows "
             f"({better} is better)."]  # fmt: skip
    if best:
        test = [pair for pair in best["metrics"].items() if pair[0].startswith("test_") and pair[1] is not None]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in test[:SHOWN_METRICS])
        where = best["path"] or best.get("kept") or "in the store; set output_dir to have it as a folder"
        scored = f" On the test rows, scored once: {shown}." if shown else ""
        lines.append(f"Best: {in_words(best['overrides'])}.{scored} Its model: {where}.")
    built = ", ".join(f"{stage} {count}" for stage, count in summary["built"].items())
    lines.append(f"Stages built, over all cells: {built or 'none, all were in the store'}.")
    if summary["rungs"]:
        rungs = "; ".join(_rung(rung, first=not at) for at, rung in enumerate(summary["rungs"]))
        spent, full = summary["steps"]["spent"], summary["steps"]["full"]
        lines.append(f"Halving: {rungs}. {spent} of {full} steps were trained ({spent / max(full, 1):.0%}).")
        if any(rung["agreement"] is not None for rung in summary["rungs"]):
            lines.append("A low rank correlation between rungs means that the early ranking was mostly chance.")
    return lines


def in_words(overrides: Mapping[str, Any]) -> str:
    """A cell's overrides in a sentence."""
    return ", ".join(f"{name} = {value}" for name, value in overrides.items()) or "the config as it is"


def _rung(rung: Mapping[str, Any], first: bool) -> str:
    said = f"{rung['groups']} up to {rung['share']:.0%} of the training"
    if first:
        return said
    if rung["agreement"] is not None:
        return f"{said}, rank correlation with the rung before {rung['agreement']:.2f}"
    if (common := rung.get("common")) is None:  # written before the reason was noted
        return f"{said}, no rank correlation with the rung before"
    why = f"{common} scored at both, at least {LEAST_RANKED} are needed" if common < LEAST_RANKED else "equal scores"
    return f"{said}, no rank correlation with the rung before ({why})"
