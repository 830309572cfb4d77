"""The sweeps of a store: listed, and found in the same way as runs. No Prefect server is needed."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from tasks.artifacts.runs import read_sweep
from tasks.artifacts.store import Miss, Store
from tasks.config import ConfigError
from tasks.runtime.log import warn
from tasks.runtime.runs import find_run, pick, runs


def sweeps(store: Store) -> list[dict[str, Any]]:
    """The records of all finished sweeps, newest first; `run` is the sweep's name."""
    return sorted(_records(store), key=lambda record: str(record.get("started") or ""), reverse=True)


def find(store: Store, word: str) -> dict[str, Any]:
    """The record of a run or of a sweep (which has `grid`), found as `find_run` does.

    The runs of a sweep have its config's name too: that name means the sweep, which ended after them.

    Raises:
        ConfigError: there is none, or there are several.
    """
    both = [*runs(store), *sweeps(store)]
    newest = sorted(both, key=lambda record: str(record.get("ended") or record.get("started") or ""), reverse=True)
    return pick(store, word, {record["run"]: record for record in newest})


def find_one_run(store: Store, word: str) -> dict[str, Any]:
    """`find_run`, for a word that a user may take from a list which has sweeps too.

    Raises:
        ConfigError: there is none, there are several, or it is a sweep: its cells' runs are named.
    """
    swept = next((record for record in sweeps(store) if record["run"] == word), None)
    if swept is None:
        return find_run(store, word)
    names = [cell["run"] for cell in swept["cells"] if cell.get("run")]
    shown = f"such as {' or '.join(names[:2])}" if names else "of which none was finished"
    raise ConfigError(f"RUN: {word!r} is a sweep; give the run of one of its cells, {shown} (finetune show {word})")


def sweep_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a sweep: its name and state, when it started, its cells, the best one and its metric."""
    best = record["best"] or {}
    failed = sum(cell["state"] not in ("completed", "paused") for cell in record["cells"])
    return {
        "sweep": record["run"],
        **{name: record.get(name) for name in ("state", "started", "name", "task", "model", "metric", "report")},
        "cells": len(record["cells"]),
        "failed": failed,
        "best": best.get("overrides"),
        "best_run": best.get("run"),
        "value": (best.get("metrics") or {}).get(record["metric"]),
    }


def _records(store: Store) -> Iterator[dict[str, Any]]:
    for name in list(store.backend.names("grids")):
        record = read_sweep(store, name)
        if not isinstance(record, Miss):
            yield {**record, "run": PurePosixPath(name).stem}
        elif record.category == "DAMAGED":
            warn(f"{name} in the store at {store.root} is damaged and left out ({record.detail}); delete or restore it")
