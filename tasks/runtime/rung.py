"""Rungs: steps at which a training pauses so that a sweep can compare it with others before it continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.formats import json
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.record import Record
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config.json_types import JsonObject
from tasks.runtime.build import Build, piece_of
from tasks.runtime.context import Paused

if TYPE_CHECKING:
    from tasks.training.run import Trained

TRAIN = "s09_train"


def step_at(share: float, total: int) -> int:
    """Return the optimizer step at `share` of a training of `total` steps; at least 1."""
    return max(1, round(share * total))


@dataclass(frozen=True)
class Rung:
    """The next pause of a build: after `step` of `total`, or never (None)."""

    build: Build
    step: int | None
    total: int

    def end(self, done: Trained) -> None:
        """If the training was paused, store its evaluation as a piece of the build, and raise `Paused`."""
        if not done.paused:
            return
        assert self.step is not None

        def make(out: Path) -> dict[str, object]:
            json.write(json.finite(done.history), out / "history.json")
            return {"step": done.paused, "metrics": json.finite(dict(done.metrics))}

        facts = self.build.piece({"until": self.step}, make=make).facts
        raise Paused(self.step, self.total, facts["metrics"], done.history)


def rung_of(build: Build, total: int) -> Rung:
    """Return the rung a build trains up to; the last step is not a rung.

    Raises:
        Paused: the same training was evaluated there before.
    """
    step = step_at(build.until, total) if build.until is not None else total
    rung = Rung(build, step if step < total else None, total)
    if rung.step is not None and (found := reached(build.store, build.document, rung.step)):
        raise Paused(step, total, found["metrics"], found["history"])
    return rung


def reached(store: Store, document: Mapping[str, Any], step: int) -> JsonObject | None:
    """Return `{"step", "metrics", "history"}` of the training with that document, evaluated after `step`, or None."""
    piece = piece_of(document, {"until": step})
    found = store.lookup(piece["stage"], key_of(piece))
    if not isinstance(found, ArtifactRef):
        return None
    return {**found.facts, "history": Artifact(found, store).json("history.json")}


def reached_by_key(store: Store, key: str, step: int) -> JsonObject | None:
    """Return the same for a finished training, by the key of its artifact."""
    record = store.record(TRAIN, key)
    return reached(store, record.document, step) if isinstance(record, Record) else None
