"""Why a key is not there: the nearest earlier question, and in what this one differs from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.artifacts.store import Miss, Store

CATEGORIES = {"code": "CODE", "config": "CONFIG", "inputs": "DATA", "files": "DATA", "environment": "ENV"}


@dataclass(frozen=True)
class Cause:
    """One reason for a miss: CODE, CONFIG, DATA, ENV, DAMAGED or MISSING, and what exactly."""

    category: str
    detail: str

    def __str__(self) -> str:
        return f"{self.category}: {self.detail}"


def explain(store: Store, stage: str, document: Mapping[str, Any], miss: Miss) -> list[Cause]:
    """Return the causes of a miss, most telling first. Never empty."""
    if miss.category == "DAMAGED":
        return [Cause("DAMAGED", miss.detail)]
    best: list[Cause] | None = None
    for record in sorted(store.records(stage), key=lambda record: record.created, reverse=True):
        causes = list(_differences(record.document, document))
        if causes and (best is None or len(causes) < len(best)):
            best = causes
    return best or [Cause("MISSING", "not built yet")]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    for section in ("config", "files", "inputs", "code", "environment"):
        before, after = (dict(_leaves(side.get(section, {}))) for side in (old, new))
        # what changed says more than what came or went with it
        for name in sorted(
            before.keys() | after.keys(), key=lambda name: (not (name in before and name in after), name)
        ):
            if before.get(name) != after.get(name):
                yield Cause(CATEGORIES[section], _say(section, name, before.get(name), after.get(name)))
    if old.get("format") != new.get("format"):
        yield Cause("CODE", "the format of its result")


def _say(section: str, name: str, before: Any, after: Any) -> str:
    if section in ("config", "environment"):
        return f"{name} {before} → {after}"
    if before is None:
        return f"{name} is new"
    return f"{name} is gone" if after is None else f"{name} changed"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, leaf in value.items():
            yield from _leaves(leaf, f"{path}.{name}" if path else name)
    else:
        yield path, value
