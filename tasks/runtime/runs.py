"""List the runs of a store, and find them by name or prefix. No Prefect server is needed."""

import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from tasks.artifacts.lease import is_held
from tasks.artifacts.runs import read_run, read_sweep
from tasks.artifacts.store import Miss, Store
from tasks.config import ConfigError
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import nearest
from tasks.runtime.log import warn
from tasks.runtime.main_metric import best_of, main_metric


def runs(store: Store) -> list[JsonObject]:
    """The records of all runs, newest first; of one that was killed the state is `killed`."""
    found = [lively(store, record) for record in records(store)]
    return sorted(found, key=lambda record: record.get("started") or "", reverse=True)


def find_run(store: Store, word: str) -> JsonObject:
    """Return the record of a run, by its name, by its config's name or model folder (the newest), or by a prefix of its
    name.

    Raises:
        ConfigError: none matches (the message suggests the nearest), or several do.
    """
    return pick(store, word, {record["run"]: record for record in runs(store)})


def pick(store: Store, word: str, known: Mapping[str, JsonObject]) -> JsonObject:
    """Return the record that `word` means among `known` (by name, newest first); raises as `find_run` does."""
    if word in known:
        return known[word]
    for record in known.values():
        if has_name(record, word):
            return record
    matching = [run for run in known if word and run.startswith(word)]
    if len(matching) == 1:
        return known[matching[0]]
    if matching:
        raise ConfigError(f"RUN: {word!r} is ambiguous: {', '.join(matching[:5])}; give more of the name")
    if not known:
        raise ConfigError(f"RUN: there is no {word!r}; the store at {store.root} has no runs yet")
    beginnings = {run[: len(word)]: run for run in known}
    names = [*known, *(record["name"] for record in known.values() if record.get("name"))]
    guess = nearest(word, names) or beginnings.get(nearest(word, beginnings) or "")
    hint = f"did you mean {guess!r}?" if guess else f"the newest is {next(iter(known))!r}"
    raise ConfigError(f"RUN: there is no {word!r} in the store at {store.root}; {hint}")


def has_name(record: Mapping[str, Any], word: str) -> bool:
    """Whether a run, its config or its model folder has that name."""
    folder = os.path.abspath(os.path.expanduser(word))  # noqa: PTH100, PTH111 — a word may be no path at all
    return word in (record["run"], record.get("name")) or (folder == record.get("model_path") and _is_exported(record))


def _is_exported(record: Mapping[str, Any]) -> bool:
    """Whether a run wrote its model to its output folder."""
    return record.get("state") == "completed" and not record.get("kept")


def run_line(store: Store, record: Mapping[str, Any]) -> JsonObject:
    """Return a run's line in a list: name, state, start time, what it trains, main metric."""
    config: JsonObject = record.get("config") or {}
    model: JsonObject = config.get("model") or {}
    metrics = metrics_of(store, record)
    name = main_metric(config.get("task", ""), best_of(config), metrics)
    return {
        "run": record["run"],
        "state": record.get("state"),
        "started": record.get("started"),
        "name": record.get("name"),
        "task": config.get("task"),
        "model": model.get("name"),
        "metric": name,
        "value": metrics[name] if name else None,
        "model_path": record.get("model_path"),
        "kept": record.get("kept"),
    }


def metrics_of(store: Store, record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return a run's metrics: from its record or, if the record is older, from its last artifact."""
    if "metrics" in record:
        return record["metrics"]
    key = next((entry["key"] for entry in record.get("stages") or () if entry["stage"] == "s12_handoff"), None)
    return getattr(store.record("s12_handoff", key), "facts", {}) if key else {}


def records(store: Store, room: Literal["runs", "grids"] = "runs") -> Iterator[JsonObject]:
    """Yield the records of all runs (or sweeps) as written, unordered; warn of damaged ones."""
    for name in list(store.backend.names(room)):
        record = read_run(store, name) if room == "runs" else read_sweep(store, name)
        if not isinstance(record, Miss):
            yield {**record, "run": PurePosixPath(name).stem}
        elif record.category == "DAMAGED":
            warn(f"{name} in the store at {store.root} is damaged and skipped ({record.detail}); delete or restore it")


def lively(store: Store, record: JsonObject) -> JsonObject:
    """A record, `killed` if it says `running` and nothing holds its lock; of a remote store that is not known."""
    if record.get("state") != "running" or store.local is None:
        return record
    held = is_held(store.local.path(f"locks/run-{record['run']}.lock"))
    return record if held else {**record, "state": "killed"}
