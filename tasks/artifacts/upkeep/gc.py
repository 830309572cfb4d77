"""Garbage collection: mark what the last and all active runs refer to, and remove the rest after a grace period."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.artifacts.backend import walk
from tasks.artifacts.lease import claim, is_held
from tasks.artifacts.record import Record
from tasks.artifacts.runs import read_run, read_sweep
from tasks.artifacts.store import Miss, Store

GRACE_HOURS = 24.0
KEEP_RUNS = 20
PIECES = ".pieces"  # parts that are artifacts of their own, see Build.piece; a build may reuse any of its stage's
TORN_HOURS = 1.0  # writing a `*.tmp` takes moments and no lock: the writer of an old one was killed


@dataclass(frozen=True)
class Garbage:
    """Names of removable (or removed) files under the root, their bytes, and damaged run records, which stay."""

    names: list[str]
    size: int
    damaged: list[str]


def collect(store: Store, keep_runs: int = KEEP_RUNS, grace_hours: float = GRACE_HOURS, sweep: bool = False) -> Garbage:
    """Find, and with `sweep` remove, what neither the last `keep_runs` runs nor any active one refers to.

    The records of the last `keep_runs` sweeps stay, each with the run of its best cell; other cells count as runs.
    Nothing younger than `grace_hours` is removed, so what is being published is safe even without locks.
    Records are removed before blobs, so that no record refers to a removed blob.
    """
    with store.gc_lock(exclusive=sweep):
        # A build holds its lease until its run's record lists it; locks are read before records, so none is missed.
        locked = set(_locked(store))
        read = {name: read_run(store, name) for name in list(store.backend.names("runs"))}
        readable = [(name, run) for name, run in read.items() if not isinstance(run, Miss)]
        damaged = [name for name, run in read.items() if isinstance(run, Miss) and run.category == "DAMAGED"]
        runs = sorted(readable, key=lambda run: run[1].get("started") or "", reverse=True)
        active = [run for run in runs if _is_active(store, *run, locked)]
        best_runs, old_sweeps = _sweeps(store, keep_runs, grace_hours)
        kept = [*runs[:keep_runs], *active, *(run for run in runs[keep_runs:] if run[0] in best_runs)]
        roots = locked | {entry for _, run in kept for entry in _needs(run)}
        building = {run["building"][1] for _, run in kept if run.get("building")}
        old = [name for name, run in runs[keep_runs:] if (name, run) not in kept]
        garbage = [name for name in old if not _young(store, name, grace_hours)] + old_sweeps
        busy = {f"{stage}{PIECES}" for stage, key in roots if (stage, key) in locked or key in building}
        blobs: set[str] = set()
        unused: list[str] = []
        pieces: list[tuple[str, Record | Miss]] = []
        for name, stage, key in store.list_records():
            record = store.record(stage, key)
            if (stage, key) in roots or stage in busy or _young(store, name, grace_hours):
                blobs |= _blobs(record)
            elif stage.endswith(PIECES):
                pieces.append((name, record))
            else:
                unused.append(name)
        # The record of a piece stays as long as another artifact keeps its bytes.
        unused += [name for name, record in pieces if not _blobs(record) or not _blobs(record) <= blobs]
        unused_blobs = [
            name
            for name in store.backend.names("blobs")
            if name.removeprefix("blobs/") not in blobs and not _young(store, name, grace_hours)
        ]
        work = list(_abandoned(store, roots, grace_hours))
        names = unused + unused_blobs + garbage + [name for group in work for name in group.names]
        found = Garbage(names, sum(store.backend.size(name) or 0 for name in names), damaged)
        if sweep:
            for name in unused + unused_blobs + garbage:
                store.backend.delete(name)
            for group in work:
                _clear(store, group)
    return found


def _sweeps(store: Store, keep: int, grace_hours: float) -> tuple[set[str], list[str]]:
    """Return the records of the best runs of the last `keep` sweeps, and the records of older sweeps."""
    read = [(name, read_sweep(store, name)) for name in list(store.backend.names("grids"))]
    found = [(name, sweep) for name, sweep in read if not isinstance(sweep, Miss)]
    found.sort(key=lambda sweep: str(sweep[1].get("started") or ""), reverse=True)
    best_runs = {f"runs/{sweep['best']['run']}.json" for _, sweep in found[:keep] if sweep.get("best")}
    return best_runs, [name for name, _ in found[keep:] if not _young(store, name, grace_hours)]


def _young(store: Store, name: str, hours: float) -> bool:
    try:
        return store.backend.age(name) < hours * 3600
    except FileNotFoundError:  # another process removed it
        return True


def _blobs(record: Record | Miss) -> set[str]:
    return {member.sha256 for member in record.members.values()} if isinstance(record, Record) else set()


@dataclass(frozen=True)
class _Group:
    """The lock and work files of one key's build. They are removed together, if no process builds it."""

    lock: str | None
    names: list[str]


def _needs(run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the artifacts that a run refers to: those of its stages, and the one it was building when it ended."""
    yield from ((stage["stage"], stage["key"]) for stage in run.get("stages", []))
    if run.get("building"):
        yield run["building"][0], run["building"][1]


def _is_active(store: Store, name: str, run: dict[str, Any], locked: set[tuple[str, str]]) -> bool:
    """Whether a run is active: a local one holds a lock; on remote stores any without a recorded end counts."""
    unfinished = run.get("state") == "running"
    return unfinished and (store.local is None or ("run", Path(name).stem) in locked)


def _locked(store: Store) -> Iterator[tuple[str, str]]:
    """Yield (stage, key) of every build and ("run", name) of every run that holds its lock."""
    if store.local is not None:
        for path in store.local.root.glob("locks/*.lock"):
            if is_held(path):
                stage, _, key = path.stem.partition("-")
                yield stage, key


def _abandoned(store: Store, needed: set[tuple[str, str]], grace_hours: float) -> Iterator[_Group]:
    """Yield work folders and locks of abandoned builds, and temporary files of killed processes."""
    old: dict[tuple[str, str], list[str]] = {}
    for name in store.backend.names("work"):
        _, *place, _ = name.split("/", 3)
        if len(place) == 2 and (place[0], place[1]) not in needed and not _young(store, name, grace_hours):
            old.setdefault((place[0], place[1]), []).append(name)
    if store.local is None:
        yield from (_Group(None, names) for names in old.values())
        return
    root = store.local.root
    for path in [*root.glob("locks/*.lock"), *root.glob("work/*/*")]:
        place = path.stem.partition("-")[::2] if path.suffix == ".lock" else (path.parent.name, path.name)
        if place not in needed and not _young(store, path.relative_to(root).as_posix(), grace_hours):
            old.setdefault((place[0], place[1]), [])
    for (stage, key), names in old.items():
        lock = f"locks/{stage}-{key}.lock"
        yield _Group(lock, [*names, lock] if (root / lock).exists() else names)
    torn = (path for folder in ("records", "runs", "memo") for path in walk(root / folder) if path.suffix == ".tmp")
    names = (path.relative_to(root).as_posix() for path in torn)
    yield _Group(None, [name for name in names if not _young(store, name, max(grace_hours, TORN_HOURS))])


def _clear(store: Store, group: _Group) -> None:
    if store.local is None or group.lock is None:
        for name in group.names:
            store.backend.delete(name)
        return
    # The lock is held meanwhile: if a builder already has it, the files stay; a new builder waits.
    with claim(store.local.path(group.lock)) as ours:
        if ours:
            stage, _, key = group.lock.removeprefix("locks/").removesuffix(".lock").partition("-")
            for name in group.names:
                store.backend.delete(name)
            folder = store.local.path(f"work/{stage}/{key}")
            if not any(path.is_file() for path in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)
            store.backend.delete(group.lock)
