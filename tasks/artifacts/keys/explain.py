"""Why a key is missing: how its document differs from that of the previous run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.artifacts.record import Record
from tasks.artifacts.store import Miss, Store
from tasks.config.json_types import is_mapping

CATEGORIES = {"code": "CODE", "config": "CONFIG", "inputs": "DATA", "files": "DATA", "environment": "ENV"}
SHOWN = 3


@dataclass(frozen=True)
class Cause:
    """One reason for a miss: its category (CODE, CONFIG, DATA, ENV, DAMAGED or MISSING) and the detail."""

    category: str
    detail: str

    def __str__(self) -> str:
        return f"{self.category}: {self.detail}"


def explain(
    store: Store, stage: str, document: Mapping[str, Any], miss: Miss, before: Mapping[str, str] | None
) -> list[Cause]:
    """Return the causes of a miss, most important first. Never empty.

    Args:
        before: keys by stage of the previous run with the same name; None if there was none.
    """
    if miss.category == "DAMAGED":
        return [Cause("DAMAGED", miss.detail)]
    if before is None:
        return [Cause("MISSING", "first run")]
    record = store.record(stage, before[stage]) if stage in before else None
    causes = list(_differences(record.document, document)) if isinstance(record, Record) else []
    return causes or [Cause("MISSING", "not built yet")]


def summarize(causes: list[Cause]) -> str:
    """Return one line with the first causes and the number of others."""
    first = causes[0]
    same = [cause.detail for cause in causes if cause.category == first.category]
    words = [f"{first.category}: {', '.join(same[:SHOWN])}"]
    more = len(causes) - min(len(same), SHOWN)
    return " ".join([*words, f"(and {more} more)"] if more else words)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    for section in ("config", "files", "inputs", "code", "environment"):
        before, after = (dict(_leaves(side.get(section, {}))) for side in (old, new))
        # changed values first, then added and removed ones
        for name in sorted(
            before.keys() | after.keys(), key=lambda name: (not (name in before and name in after), name)
        ):
            if before.get(name) != after.get(name):
                yield Cause(CATEGORIES[section], _describe(section, name, before.get(name), after.get(name)))
    if old.get("format") != new.get("format"):
        yield Cause("CODE", "the format of its result changed")


def _describe(section: str, name: str, before: object, after: object) -> str:
    if section in ("config", "environment"):
        return f"{name} {before} → {after}"
    if before is None:
        return f"{name} is new"
    return f"{name} is gone" if after is None else f"{name} changed"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if is_mapping(value) and value:
        for name, leaf in value.items():
            yield from _leaves(leaf, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value
