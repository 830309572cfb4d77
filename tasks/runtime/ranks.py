"""When a training of AdaLoRA lowers ranks: part of its plan, since a training may be too short for it."""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.config import ContinuePeft, PeftConfig
from tasks.config.json_types import JsonObject
from tasks.config.tuners import ADALORA
from tasks.models.bases.files import ADAPTER_CONFIG, INSIDE
from tasks.runtime.context import current


def rank_schedule(peft: PeftConfig, base: ArtifactRef) -> JsonObject | None:
    """Return when an AdaLoRA adapter lowers ranks: all but the first `tinit` and the last `tfinal` steps; None for
    other adapters."""
    given: Mapping[str, Any] = getattr(peft, "options", {})
    if isinstance(peft, ContinuePeft) and base.members:
        path = current().open(base).externals().get(INSIDE + ADAPTER_CONFIG)
        given = json.read(path) if path else {}
    if ADALORA not in (peft.method, str(given.get("peft_type")).lower()):
        return None
    return {name: given.get(name, 0) for name in ("tinit", "tfinal")}
