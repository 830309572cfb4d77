"""Two runs side by side: only what differs, by what it is: config, data, code, libraries, metrics."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from tasks.artifacts.record import Record
from tasks.artifacts.store import Store
from tasks.results.report import gather
from tasks.runtime.runs import metrics_of

KINDS = ("config", "data", "code", "libraries", "metrics")
Pair = dict[str, list[Any]]


def compare(store: Store, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    """For each of `KINDS` what differs between two runs: {name: [of the one, of the other]}; None is not there.

    What was built from code and libraries is known as long as the artifacts are in the store.
    """
    found = [_facts(store, record) for record in (one, other)]
    return {kind: dict(_differences(found[0][kind], found[1][kind])) for kind in KINDS}


def _facts(store: Store, record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    stages = {}
    for entry in record.get("stages") or ():
        if isinstance(found := store.record(entry["stage"], entry["key"]), Record):
            stages[entry["stage"]] = found
    return {
        "config": dict(_leaves(record.get("config") or {})),
        "data": dict(_data(store, record, stages)),
        "code": dict(_code(stages)),
        "libraries": _libraries(stages),
        "metrics": dict(metrics_of(store, record)),
    }


def _data(store: Store, record: Mapping[str, Any], stages: Mapping[str, Record]) -> Iterator[tuple[str, Any]]:
    """Counts of the rows, and the first digits of the digests of files and rows."""
    yield from _leaves({name: value for name, value in gather(store, record).data.items() if name != "warnings"})
    if prepared := stages.get("s04_prepare"):
        yield from ((f"file {name}", str(digest)[:12]) for name, digest in prepared.document.get("files", {}).items())
        for name, member in prepared.members.items():
            if fnmatch(name, "*.arrow"):
                yield f"rows of {name.removesuffix('.arrow')}", member.sha256[:12]


def _code(stages: Mapping[str, Record]) -> Iterator[tuple[str, Any]]:
    for found in stages.values():
        for module, digest in found.document.get("code", {}).items():
            yield module, str(digest)[:12]


def _libraries(stages: Mapping[str, Record]) -> dict[str, str]:
    """Versions by library, and facts of the machine; several where stages were built at different times."""
    found: dict[str, dict[str, None]] = {}
    for record in stages.values():
        for name, value in record.document.get("environment", {}).items():
            found.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in found.items()}


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, leaf in value.items():
        if isinstance(leaf, Mapping) and leaf:
            yield from _leaves(leaf, f"{path}{name}.")
        else:
            yield f"{path}{name}", leaf


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for name in [*one, *(name for name in other if name not in one)]:
        if one.get(name) != other.get(name):
            yield name, [one.get(name), other.get(name)]
