"""The runs of a store: listed, and found by name or prefix. No Prefect server is needed."""

import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from tasks.artifacts.lease import is_held
from tasks.artifacts.runs import read_run
from tasks.artifacts.store import Miss, Store
from tasks.config import ConfigError
from tasks.config.reading.names import nearest
from tasks.runtime.log import warn
from tasks.runtime.main_metric import best_of, main_metric


def runs(store: Store) -> list[dict[str, Any]]:
    """The records of all runs, newest first; of one that was killed the state is `killed`."""
    found = [_lively(store, record) for record in records(store)]
    return sorted(found, key=lambda record: record.get("started") or "", reverse=True)


def find_run(store: Store, word: str) -> dict[str, Any]:
    """The record of a run: by what it is called, by its config's name or its model folder (the newest there), or by
    the beginning of what it is called.

    Raises:
        ConfigError: there is none (the nearest is named), or there are several.
    """
    return pick(store, word, {record["run"]: record for record in runs(store)})


def pick(store: Store, word: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The record that `word` means among `known`, newest first by what each is called; raises as `find_run` does."""
    if word in known:
        return known[word]
    for record in known.values():
        if is_called(record, word):
            return record
    matching = [run for run in known if word and run.startswith(word)]
    if len(matching) == 1:
        return known[matching[0]]
    if matching:
        raise ConfigError(f"RUN: {word!r} may be any of {', '.join(matching[:5])}; give more of the name")
    if not known:
        raise ConfigError(f"RUN: there is no {word!r}; the store at {store.root} knows no run yet")
    beginnings = {run[: len(word)]: run for run in known}
    names = [*known, *(record["name"] for record in known.values() if record.get("name"))]
    guess = nearest(word, names) or beginnings.get(nearest(word, beginnings) or "")
    hint = f"did you mean {guess!r}?" if guess else f"the newest is {next(iter(known))!r}"
    raise ConfigError(f"RUN: there is no {word!r} in the store at {store.root}; {hint}")


def is_called(record: Mapping[str, Any], word: str) -> bool:
    """Whether a run, its config or the folder its model is in bears that name."""
    folder = os.path.abspath(os.path.expanduser(word))  # noqa: PTH100, PTH111 — a word may be no path at all
    return word in (record["run"], record.get("name")) or (folder == record.get("model_path") and _is_there(record))


def _is_there(record: Mapping[str, Any]) -> bool:
    """Whether a run brought its model to the folder it was given."""
    return record.get("state") == "completed" and not record.get("kept")


def line_of(store: Store, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a list shows of a run: its name and state, when it started, what it trains, its main metric."""
    config, metrics = record.get("config") or {}, metrics_of(store, record)
    name = main_metric(config.get("task", ""), best_of(config), metrics)
    return {
        "run": record["run"],
        "state": record.get("state"),
        "started": record.get("started"),
        "name": record.get("name"),
        "task": config.get("task"),
        "model": (config.get("model") or {}).get("name"),
        "metric": name,
        "value": metrics[name] if name else None,
        "model_path": record.get("model_path"),
        "kept": record.get("kept"),
    }


def metrics_of(store: Store, record: Mapping[str, Any]) -> dict[str, float | None]:
    """A run's metrics: its own record's or, where that is older than they are, its last artifact's."""
    if "metrics" in record:
        return record["metrics"]
    key = next((entry["key"] for entry in record.get("stages") or () if entry["stage"] == "s12_handoff"), None)
    return getattr(store.record("s12_handoff", key), "facts", {}) if key else {}


def records(store: Store) -> Iterator[dict[str, Any]]:
    """The records of all runs as they were written, in no order; of a damaged one there is a warning."""
    for name in list(store.backend.names("runs")):
        record = read_run(store, name)
        if not isinstance(record, Miss):
            yield {**record, "run": PurePosixPath(name).stem}
        elif record.category == "DAMAGED":
            warn(f"{name} in the store at {store.root} is damaged and left out ({record.detail}); delete or restore it")


def _lively(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """A local run holds a lock while it lives; of a remote store it is not known."""
    if record.get("state") != "running" or store.local is None:
        return record
    held = is_held(store.local.path(f"locks/run-{record['run']}.lock"))
    return record if held else {**record, "state": "killed"}
