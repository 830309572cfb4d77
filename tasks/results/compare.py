"""The differences between two runs: config, data, code, libraries, metrics."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from tasks.artifacts.record import Record
from tasks.artifacts.runs import own_stages
from tasks.artifacts.store import Store
from tasks.config.json_types import JsonObject
from tasks.results.report import gather
from tasks.runtime.runs import metrics_of

KINDS = ("config", "data", "code", "libraries", "metrics")
Pair = dict[str, list[Any]]


def compare(store: Store, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    """Return what differs between two runs, for each of `KINDS`: {name: [in one, in other]}; None means absent.

    Code and libraries are known only while the runs' artifacts are in the store.
    """
    found = [_facts(store, record) for record in (one, other)]
    return {kind: dict(_differences(found[0][kind], found[1][kind])) for kind in KINDS}


def _facts(store: Store, record: Mapping[str, Any]) -> dict[str, JsonObject]:
    stages = {}
    for entry in own_stages(record):
        if isinstance(found := store.record(entry["stage"], entry["key"]), Record):
            stages[entry["stage"]] = found
    return {
        "config": dict(_leaves(record.get("config") or {})),
        "data": dict(_data(store, record, stages)),
        "code": dict(_code(stages)),
        "libraries": _libraries(stages),
        "metrics": dict(metrics_of(store, record)),
    }


def _data(store: Store, record: Mapping[str, Any], stages: Mapping[str, Record]) -> Iterator[tuple[str, object]]:
    """Row counts, and shortened digests of files and rows."""
    yield from _leaves({name: value for name, value in gather(store, record).data.items() if name != "warnings"})
    if prepared := stages.get("s04_prepare"):
        yield from ((f"file {name}", str(digest)[:12]) for name, digest in prepared.document.get("files", {}).items())
        for name, member in prepared.members.items():
            if fnmatch(name, "*.arrow"):
                yield f"rows of {name.removesuffix('.arrow')}", member.sha256[:12]


def _code(stages: Mapping[str, Record]) -> Iterator[tuple[str, str]]:
    for found in stages.values():
        for module, digest in found.document.get("code", {}).items():
            yield module, str(digest)[:12]


def _libraries(stages: Mapping[str, Record]) -> dict[str, str]:
    """Library versions and machine facts by name; several values if stages were built in different environments."""
    found: dict[str, dict[str, None]] = {}
    for record in stages.values():
        for name, value in record.document.get("environment", {}).items():
            found.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    for name, leaf in value.items():
        if isinstance(leaf, Mapping) and leaf:
            yield from _leaves(leaf, f"{path}{name}.")
        else:
            yield f"{path}{name}", leaf


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, list[object]]]:
    for name in [*one, *(name for name in other if name not in one)]:
        if one.get(name) != other.get(name):
            yield name, [one.get(name), other.get(name)]
