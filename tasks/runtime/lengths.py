"""How long a row is, and how much its windows share, as far as the model takes it: what is asked for and cannot be had
is said."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.ref import ArtifactRef
from tasks.data.tokens.encode import stride_of
from tasks.runtime.context import current
from tasks.runtime.log import say

UNBOUNDED = 1_000_000  # what asks for as much as the model takes
WHY = {"max_length": "the longest row the model takes", "stride": "a third of a row: windows must advance"}


def within(shape: Mapping[str, Any], base: ArtifactRef) -> dict[str, Any]:
    """`shape` with the `max_length` and `stride` that a base allows; as asked where a plan does not know the base yet.

    Warns of what the user asked for and does not get; of a default it is a line of the log.
    """
    if not base.members:
        return dict(shape)
    context = current()
    most = context.open(base).json("base.json")["max_length"]
    found = {**shape, "max_length": min(most, shape["max_length"] or most)}
    if found.get("stride"):
        found["stride"] = stride_of(found)
    given = {path for path, _, _ in context.summary.get("given", ())}
    for name in WHY.keys() & found.keys() if context.overlay is None else ():
        asked, read = shape[name], name != "stride" or shape["overlong"] == "window"
        if asked and read and found[name] < asked < UNBOUNDED:
            (context.note if f"data.{name}" in given else say)(
                f"data.{name}: {asked} → {found[name]} tokens, {WHY[name]}"
            )
    return found
