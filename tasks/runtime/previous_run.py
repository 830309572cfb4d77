"""The run that a run is compared with when its stages say why they are built."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.store import Store
from tasks.runtime.runs import records

KINDS = ("name", "config_file", "model_path")


def keys_before(store: Store, summary: Mapping[str, Any], but: str) -> dict[str, str] | None:
    """The keys, by stage, of the last run of the same name, or else config file, or else output folder; None if there
    was none.

    Args:
        summary: what the run's own record says of it. but: the run itself.
    """
    known = sorted(
        (each for each in records(store) if each["run"] != but),
        key=lambda record: record.get("started") or "",
        reverse=True,
    )
    for kind in KINDS:
        wanted = summary.get(kind)
        if wanted is not None and (alike := [each for each in known if each.get(kind) == wanted]):
            # a run that ended early does not hide what the one before it came to
            return {entry["stage"]: entry["key"] for each in reversed(alike) for entry in each.get("stages") or ()}
    return None
