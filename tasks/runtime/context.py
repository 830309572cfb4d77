"""The run a stage belongs to: its store, its name, what has happened so far, and its listener.

A context is entered once per run and found through a `ContextVar`, so that stages need not pass it on. A stage called
by itself, in a test or a notebook, needs one made with `open_run`.
"""

# pyright: reportMissingTypeStubs=false
# (pyarrow has no types)

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config.json_types import JsonObject
from tasks.runtime.log import warn

if TYPE_CHECKING:
    import pyarrow as pa


Body = Callable[..., Mapping[str, Any]]
"""What a stage does: `body(build, *, …) -> facts`."""


@dataclass(frozen=True)
class StageEntry:
    """The outcome of one stage in one run; `seconds` are wall time including the lookup. `warnings` are those of the
    build, even if another run made it. `of` is the other task that it was called for; empty for the run's own."""

    stage: str
    state: Literal["built", "cached", "hit", "miss"]
    seconds: float
    key: str
    reason: str
    warnings: tuple[str, ...] = ()
    of: str = ""


class Paused(Exception):
    """A training reached the requested share of its steps, and a checkpoint is saved.

    Attributes:
        step, total: optimizer steps done and in total. metrics: of the validation rows at that step.
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
    into it if `run_in_plan`, and the real store is only read. `until` is the share of the training after which it
    pauses. `signalled` is a signal to be handled once the current stage is published.
    """

    store: Store
    run: str
    replaced: Mapping[str, Body] = field(default_factory=dict[str, Body])
    listener: Callable[[StageEntry], None] | None = None
    overlay: Store | None = None
    keeps: object = None  # an object that must live as long as the overlay
    run_in_plan: bool = True
    until: float | None = None
    signalled: int | None = None
    before_building: Callable[[], None] | None = None  # a check to make once, unless all later stages are cached
    entries: list[StageEntry] = field(default_factory=list[StageEntry])
    refs: dict[str, ArtifactRef] = field(default_factory=dict[str, ArtifactRef])
    building: list[str] | None = None
    origin: Mapping[str, str] = field(default_factory=dict[str, str])
    summary: JsonObject = field(default_factory=JsonObject)
    overwrite: bool = False  # whether anything in `output_dir` may be replaced
    kept: str | None = None  # why `output_dir` keeps the model it had, if it does
    overwrites: str | None = None  # what in `output_dir` the run's model replaces
    trackers: list[Any] = field(default_factory=list[Any])  # of the training, to be closed at the end
    notes: list[str] = field(default_factory=list[str])  # warnings that belong to no stage
    other: str = ""  # the task for which stages are called, if it is not the run's own
    started: str = field(default_factory=lambda: now())

    @cached_property
    def before(self) -> dict[str, str] | None:
        """The keys by stage of the previous run of this kind, to explain misses."""
        from tasks.runtime.previous_run import keys_before

        return keys_before(self.store, self.summary, but=self.run)

    def add(self, entry: StageEntry, ref: ArtifactRef) -> None:
        """Record a finished stage, call the listener, and update the run's record in the store."""
        self.building = None
        entry = replace(entry, of=self.other, reason=f"{self.other}: {entry.reason}") if self.other else entry
        self.entries.append(entry)
        if not self.other:
            self.refs[entry.stage] = ref
        if self.listener:
            self.listener(entry)
        if self.overlay is None:
            self.write()

    @contextmanager
    def beside(self, other: str) -> Generator[None]:
        """Within, stages are called for another task than the run's own, which messages call `other`: `refs` stay."""
        before, self.other = self.other, other
        try:
            yield
        finally:
            self.other = before

    @property
    def warnings(self) -> list[str]:
        """The warnings of all stages so far, including cached ones."""
        return [line for entry in self.entries for line in entry.warnings]

    def note(self, line: str) -> None:
        """Warn once about this run, as opposed to a stage's artifact, which other runs share."""
        if line not in self.notes:
            self.notes.append(line)
            warn(line)

    def begin(self, stage: str, key: str) -> None:
        """Make the check that is due before anything is built, and record what is about to be built, so that `gc` keeps
        its checkpoints if the run is killed."""
        if (check := self.before_building) is not None:
            check()
            self.before_building = None
        self.building = [stage, key]
        if self.overlay is None:
            self.write()

    def open(self, ref: ArtifactRef) -> Artifact:
        """Open an artifact where its blobs are: in a plan some are in the overlay."""
        overlay = self.overlay
        blobs = (f"blobs/{member.sha256}" for member in ref.members.values())
        planned = overlay is not None and all(overlay.backend.size(blob) is not None for blob in blobs)
        return Artifact(ref, overlay if planned and overlay is not None else self.store)

    def read(self, stage: str, name: str) -> Any:
        """Return a JSON member of a finished stage."""
        return self.open(self.refs[stage]).json(name)

    def rows(self, stage: str, split: str = "train") -> "pa.Table":  # pyright: ignore
        """Return a split's rows of a finished stage, as a table."""
        from tasks.data.tables import arrow_file

        return arrow_file.open_table(self.open(self.refs[stage]).path(f"{split}.arrow"))  # pyright: ignore

    def record(self, state: str = "running") -> JsonObject:
        """Return the run as JSON: its state, start time and last update, stages, and configuration."""
        return {
            "run": self.run, "state": state, "started": self.started, "updated": now(), "building": self.building,
            "stages": [asdict(entry) for entry in self.entries], "kept": self.kept, "warnings": self.notes,
            **self.summary,
        }  # fmt: skip

    def write(self, state: str = "running") -> None:
        """Write `runs/<run>.json`, which `gc`, `finetune runs`, `show` and `compare` read."""
        record = json.dumps(self.record(state), indent=1, ensure_ascii=False)
        self.store.backend.write(f"runs/{self.run}.json", record.encode())


def now() -> str:
    """Return the time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


_current: ContextVar[RunContext | None] = ContextVar("finetune_run", default=None)


def current() -> RunContext:
    """Return the run this code belongs to.

    Raises:
        RuntimeError: outside any run.
    """
    context = _current.get()
    if context is None:
        raise RuntimeError("a stage must be called within a run: `with open_run(RunContext(store, run=…)): …`")
    return context


@contextmanager
def open_run(context: RunContext) -> Generator[RunContext]:
    """Make `context` the current run."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
