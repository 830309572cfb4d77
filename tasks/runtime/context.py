"""The run a stage belongs to: its store, its name, what has happened so far, and who is told.

A context is entered once for each run and found through a `ContextVar`, so stages need not pass it on. Without one
(a stage called by itself, in a test or a notebook) `open_run` makes one for as long as it is needed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.runtime.log import warn


@dataclass(frozen=True)
class StageEntry:
    """What became of one stage in one run; `seconds` are wall time, lookup included. `warnings` are those of the build,
    whichever run made it."""

    stage: str
    state: Literal["built", "cached", "hit", "miss"]
    seconds: float
    key: str
    reason: str
    warnings: tuple[str, ...] = ()


class Paused(Exception):
    """A training reached the share of its steps that was asked for, and a checkpoint is saved.

    Attributes:
        step, total: optimizer steps done, and in all. metrics: of the validation rows at that step.
        history: what the Trainer logged until then.
    """

    def __init__(
        self, step: int, total: int, metrics: Mapping[str, float], history: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(f"paused after step {step} of {total}")
        self.step, self.total, self.metrics, self.history = step, total, dict(metrics), list(history)


@dataclass
class RunContext:
    """One run of the flow.

    `replaced` maps a stage's name to a caller's own function. `overlay` is set while planning: light stages build
    into it if `light`, the real store is only read. `until` is the share of the training after which to pause.
    `signalled` is a signal that is heeded once the stage that is under way is published.
    """

    store: Store
    run: str
    replaced: Mapping[str, Callable[..., Mapping[str, Any]]] = field(default_factory=dict)
    listener: Callable[[StageEntry], None] | None = None
    overlay: Store | None = None
    keeps: object = None  # what must live as long as the overlay
    run_in_plan: bool = True
    until: float | None = None
    signalled: int | None = None
    entries: list[StageEntry] = field(default_factory=list)
    refs: dict[str, ArtifactRef] = field(default_factory=dict)
    building: list[str] | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False  # whether anything in `output_dir` may be replaced
    kept: str | None = None  # why `output_dir` keeps the model it had, if it does
    overwrites: str | None = None  # what in `output_dir` the run's model takes the place of
    notes: list[str] = field(default_factory=list)  # warnings that no stage gave
    started: str = field(default_factory=lambda: now())

    @cached_property
    def before(self) -> dict[str, str] | None:
        """The keys of the last run of this kind by stage, with which the reasons of misses compare."""
        from tasks.runtime.previous_run import keys_before

        return keys_before(self.store, self.summary, but=self.run)

    def add(self, entry: StageEntry, ref: ArtifactRef) -> None:
        """Note a finished stage, tell the listener, and keep the run's own record up to date."""
        self.building = None
        self.entries.append(entry)
        self.refs[entry.stage] = ref
        if self.listener:
            self.listener(entry)
        if self.overlay is None:
            self.write()

    @property
    def warnings(self) -> list[str]:
        """What the stages so far have warned of, those that were cached too."""
        return [line for entry in self.entries for line in entry.warnings]

    def note(self, line: str) -> None:
        """Warn, once, of what is true of this run and not of a stage's artifact, which other runs share."""
        if line not in self.notes:
            self.notes.append(line)
            warn(line)

    def begin(self, stage: str, key: str) -> None:
        """Note what is about to be built, so that `gc` keeps the checkpoints of a run that was killed at it."""
        self.building = [stage, key]
        if self.overlay is None:
            self.write()

    def open(self, ref: ArtifactRef) -> Artifact:
        """Open an artifact where its blobs are: in a plan some lie in the overlay."""
        overlay = self.overlay
        blobs = (f"blobs/{member.sha256}" for member in ref.members.values())
        planned = overlay is not None and all(overlay.backend.size(blob) is not None for blob in blobs)
        return Artifact(ref, overlay if planned and overlay is not None else self.store)

    def read(self, stage: str, name: str) -> Any:
        """A JSON member of a finished stage."""
        return self.open(self.refs[stage]).json(name)

    def rows(self, stage: str, split: str = "train") -> Any:
        """A split's rows of a finished stage, as a table."""
        from tasks.data.tables.arrow_file import open_table

        return open_table(self.open(self.refs[stage]).path(f"{split}.arrow"))

    def record(self, state: str = "running") -> dict[str, Any]:
        """The run as JSON: its state, when it started (and was last heard of), its stages, what was asked of it."""
        return {
            "run": self.run, "state": state, "started": self.started, "updated": now(), "building": self.building,
            "stages": [asdict(entry) for entry in self.entries], "kept": self.kept, "warnings": self.notes,
            **self.summary,
        }  # fmt: skip

    def write(self, state: str = "running") -> None:
        """Write `runs/<run>.json`: what `gc` must not touch, and what `finetune runs`, `show` and `compare` read."""
        record = json.dumps(self.record(state), indent=1, ensure_ascii=False)
        self.store.backend.write(f"runs/{self.run}.json", record.encode())


def now() -> str:
    """The time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


_current: ContextVar[RunContext | None] = ContextVar("finetune_run", default=None)


def current() -> RunContext:
    """The run this code belongs to.

    Raises:
        RuntimeError: outside any run.
    """
    context = _current.get()
    if context is None:
        raise RuntimeError("a stage needs a run to belong to: `with open_run(RunContext(store, run=…)): …`")
    return context


@contextmanager
def open_run(context: RunContext) -> Iterator[RunContext]:
    """Make `context` the current run."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
