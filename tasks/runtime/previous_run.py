"""Find the previous run, with which a run is compared to explain why stages are built."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.runs import own_stages
from tasks.artifacts.store import Store
from tasks.runtime.runs import records

KINDS = ("name", "config_file", "model_path")


def keys_before(store: Store, summary: Mapping[str, Any], but: str) -> dict[str, str] | None:
    """Return the keys, by stage, of the last run of the same name, else of the same config file, else of the same
    output folder; None if there is none.

    Args:
        summary: of the run's own record. but: the run itself.
    """
    known = sorted(
        (each for each in records(store) if each["run"] != but),
        key=lambda record: record.get("started") or "",
        reverse=True,
    )
    for kind in KINDS:
        wanted = summary.get(kind)
        if wanted is not None and (alike := [each for each in known if each.get(kind) == wanted]):
            # stages that the last run did not reach come from the runs before it
            return {entry["stage"]: entry["key"] for each in reversed(alike) for entry in own_stages(each)}
    return None
