"""List the sweeps of a store, and find them as runs are found. No Prefect server is needed."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.store import Store
from tasks.config import ConfigError
from tasks.config.json_types import JsonObject
from tasks.runtime.runs import find_run, lively, pick, records, runs


def sweeps(store: Store) -> list[JsonObject]:
    """Return the records of all sweeps, newest first; `state` is `killed` if the process of a sweep is gone."""
    found = [lively(store, record) for record in records(store, "grids")]
    return sorted(found, key=lambda record: str(record.get("started") or ""), reverse=True)


def find(store: Store, word: str) -> JsonObject:
    """Return the record of a run or of a sweep (which has `grid`), found as by `find_run`.

    The runs of a sweep have its config's name too; that name means the sweep, which ended after them.

    Raises:
        ConfigError: none matches, or several do.
    """
    both = [*runs(store), *sweeps(store)]
    newest = sorted(both, key=lambda record: str(record.get("ended") or record.get("started") or ""), reverse=True)
    return pick(store, word, {record["run"]: record for record in newest})


def find_one_run(store: Store, word: str) -> JsonObject:
    """Find a run as `find_run` does, with a hint if the name is that of a sweep.

    Raises:
        ConfigError: none matches, several do, or it is a sweep (the message names runs of its cells).
    """
    swept = next((record for record in sweeps(store) if record["run"] == word), None)
    if swept is None:
        return find_run(store, word)
    names = [cell["run"] for cell in swept["cells"] if cell.get("run")]
    shown = f"such as {' or '.join(names[:2])}" if names else "none of which finished"
    raise ConfigError(f"RUN: {word!r} is a sweep; give the run of one of its cells, {shown} (finetune show {word})")


def sweep_line(record: Mapping[str, Any]) -> JsonObject:
    """Return a sweep's line in a list: name, state, start time, cells, the best one and its metric."""
    best: JsonObject = record["best"] or {}
    metrics: JsonObject = best.get("metrics") or {}
    open_ones = () if record["state"] in ("completed", "partial", "failed") else ("interrupted",)
    failed = sum(cell["state"] not in ("completed", "paused", *open_ones) for cell in record["cells"])
    return {
        "sweep": record["run"],
        **{name: record.get(name) for name in ("state", "started", "name", "task", "model", "metric", "report")},
        "cells": len(record["cells"]),
        "failed": failed,
        "best": best.get("overrides"),
        "best_run": best.get("run"),
        "value": metrics.get(record["metric"]),
    }
