"""Removing what no run needs: mark what the last runs and all living ones refer to, wait a grace, sweep the rest."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.artifacts.lease import is_held
from tasks.artifacts.record import Record
from tasks.artifacts.store import Miss, Store

GRACE_HOURS = 24.0
KEEP_RUNS = 20


@dataclass(frozen=True)
class Garbage:
    """What would go (or went): names under the root, and bytes."""

    names: list[str]
    size: int


def collect(store: Store, keep_runs: int = KEEP_RUNS, grace_hours: float = GRACE_HOURS, sweep: bool = False) -> Garbage:
    """Find, and with `sweep` remove, what neither the last `keep_runs` runs nor any unfinished one refers to.

    Nothing younger than `grace_hours` goes, so what is being published is safe even where no lock can say so.
    Records go before blobs: a record never speaks of a blob that is gone.
    """
    with store.guard(exclusive=sweep):
        runs = sorted(_runs(store), key=lambda run: str(run[1].get("started")), reverse=True)
        unfinished = [run for run in runs if run[1].get("state") == "running"]
        kept = [*runs[:keep_runs], *unfinished]
        roots = {(stage["stage"], stage["key"]) for _, run in kept for stage in run.get("stages", [])}
        garbage = [name for name, run in runs[keep_runs:] if run.get("state") != "running"]
        blobs: set[str] = set()
        dead: list[str] = []
        for name in list(store.backend.names("records")):
            _, stage, file = name.split("/")
            record = store.record(stage, file.removesuffix(".json"))
            if (stage, file.removesuffix(".json")) in roots or _young(store, name, grace_hours):
                blobs |= _blobs(record)
            else:
                dead.append(name)
        loose = [
            name
            for name in store.backend.names("blobs")
            if name.removeprefix("blobs/") not in blobs and not _young(store, name, grace_hours)
        ]
        names = dead + loose + garbage + list(_abandoned(store, grace_hours))
        found = Garbage(names, sum(store.backend.size(name) or 0 for name in names))
        if sweep:
            for name in names:
                store.backend.delete(name)
            _clear_folders(store)
    return found


def _runs(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in store.backend.names("runs"):
        try:
            yield name, json.loads(store.backend.read(name))
        except json.JSONDecodeError:
            yield name, {}


def _young(store: Store, name: str, hours: float) -> bool:
    return store.backend.age(name) < hours * 3600


def _blobs(record: Record | Miss) -> set[str]:
    return {member.sha256 for member in record.members.values()} if isinstance(record, Record) else set()


def _abandoned(store: Store, grace_hours: float) -> Iterator[str]:
    """Work folders and locks of builds that nobody has gone on with, and half-written files of the dead."""
    for name in store.backend.names("work"):
        stage, key = name.split("/")[1:3]
        held = store.local is not None and is_held(store.local.path(f"locks/{stage}-{key}.lock"))
        if not held and not _young(store, name, grace_hours):
            yield name
    if store.local is None:
        return
    for path in store.local.root.glob("locks/*.lock"):
        name = path.relative_to(store.local.root).as_posix()
        if not is_held(path) and not _young(store, name, grace_hours):
            yield name
    for path in store.local.root.rglob("*.tmp"):
        name = path.relative_to(store.local.root).as_posix()
        if not _young(store, name, grace_hours):
            yield name


def _clear_folders(store: Store) -> None:
    if store.local is not None:
        for folder in store.local.root.glob("work/*/*"):
            if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)
