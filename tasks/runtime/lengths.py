"""Limit `max_length` and `stride` to what the model supports, with a message if that changes a configured value."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.ref import ArtifactRef
from tasks.config.json_types import JsonObject
from tasks.data.tokens.encode import stride_of
from tasks.runtime.context import current
from tasks.runtime.log import info

UNBOUNDED = 1_000_000  # a value this high means the model's maximum
WHY = {"max_length": "the model's maximum", "stride": "a third of a row: windows must advance"}


def limit_lengths(shape: Mapping[str, Any], base: ArtifactRef, virtual_tokens: int = 0) -> JsonObject:
    """Return `shape` with `max_length` and `stride` limited to what a base allows; unchanged if a plan has no base yet.

    A changed value of the user is a warning, a changed default an info line.

    Args:
        virtual_tokens: that an adapter adds to each row.
    """
    if not base.members:
        return dict(shape)
    context = current()
    most = context.open(base).json("base.json")["max_length"] - virtual_tokens
    found = {**shape, "max_length": min(most, shape["max_length"] or most)}
    if found.get("stride"):
        found["stride"] = stride_of(found)
    given = {path for path, _, _ in context.summary.get("given", ())}
    for name in WHY.keys() & found.keys():
        requested, read = shape[name], name != "stride" or shape["overlong"] == "window"
        if requested and read and found[name] < requested < UNBOUNDED:
            why = WHY[name] + (f" less {virtual_tokens} virtual tokens" if virtual_tokens else "")
            (context.note if f"data.{name}" in given else info)(
                f"data.{name}: {requested} → {found[name]} tokens, {why}"
            )
    return found
