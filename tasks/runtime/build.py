"""The build context of a stage's body: where to write, what it may read besides its inputs, how to log."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.backend import FsspecBackend
from tasks.artifacts.formats.manifest import MANIFEST
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.names import is_inside
from tasks.artifacts.record import Member
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.config.json_types import JsonObject
from tasks.runtime.log import info as log_info
from tasks.runtime.log import warn
from tasks.runtime.secrets import redact


def piece_of(document: Mapping[str, Any], named: Mapping[str, Any], instead_of: str = "") -> JsonObject:
    """Return the key document of a piece of the artifact with the key document `document`; see `Build.piece`."""
    inputs = {name: digest for name, digest in document.get("inputs", {}).items() if name != instead_of}
    return {**document, "stage": f"{document['stage']}.pieces", "inputs": inputs, "piece": dict(named)}


@dataclass(frozen=True)
class Build:
    """One build of one key.

    Attributes:
        out: write members here; they are published when the body returns.
        work: a folder that outlives a killed build of this key on a local root; with `upload_checkpoint` on any
            root.
        files: the external files that are part of the key, by name.
        adopted: members of other artifacts that this one includes by reference, without a copy.
        document: the key document. run: the run that builds.
        until: the share of the training after which to pause; None: never.
        warnings: the warnings so far. They are stored with the artifact, and logged in every run that reuses it.
    """

    store: Store
    stage: str
    key: str
    out: Path
    files: Mapping[str, Path]
    adopted: dict[str, Member] = field(default_factory=dict[str, Member])
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])
    run: str = ""
    until: float | None = None
    info: Callable[[str], None] = log_info
    warnings: list[str] = field(default_factory=list[str])

    def warn(self, message: str) -> None:
        """Log a warning, and keep it with the artifact."""
        self.warnings.append(redact(message))
        warn(message)

    @property
    def work(self) -> Path:
        return self.store.work(self.stage, self.key) / "keep"

    def piece(
        self, named: Mapping[str, Any], *, instead_of: str = "", make: Callable[[Path], Mapping[str, Any]]
    ) -> ArtifactRef:
        """Return a part of this artifact that is an artifact itself, from the store or built now. A build that was
        killed resumes at the first missing piece, and other builds that need the same piece reuse it.

        Args:
            named: what the piece depends on in place of the input `instead_of`; everything else in this build's key
                is in the piece's too.
            make: writes the piece's members into a folder and returns its facts.
        """
        document = piece_of(self.document, named, instead_of)
        stage, key, started = document["stage"], key_of(document), time.perf_counter()
        with self.store.lease(stage, key, lambda: None):
            found = self.store.lookup(stage, key)
            if isinstance(found, ArtifactRef):
                return found
            with self.store.building(stage, key) as out:
                facts = make(out)
                with self.store.gc_lock():
                    made = self.store.publish(
                        stage, key, document, out, facts=facts, run=self.run, seconds=time.perf_counter() - started
                    )
        shutil.rmtree(self.store.work(stage, key), ignore_errors=True)
        return made

    def view(self) -> Path:
        """A scratch folder in which each external file has its own name."""
        folder = self.store.scratch() / "views" / uuid4().hex
        for name, path in self.files.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        return folder

    def upload_checkpoint(self, folder: Path) -> None:
        """Copy a finished folder of `work` to the store's root, its manifest last, so that it survives this machine."""
        if isinstance(self.store.backend, FsspecBackend):
            prefix = f"work/{self.stage}/{self.key}/{folder.name}"
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            for path in sorted(paths, key=lambda path: path.name == MANIFEST):
                self.store.backend.copy(path, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def remove_checkpoint(self, name: str) -> None:
        """Remove a kept folder, its manifest first, so that it is never seen incomplete."""
        if self.store.local is None:
            prefix = f"work/{self.stage}/{self.key}/{name}/"
            for path in sorted(self.store.backend.names(prefix.rstrip("/")), key=lambda path: MANIFEST not in path):
                self.store.backend.delete(path)
        (self.work / name / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.work / name, ignore_errors=True)

    def restore(self) -> None:
        """Fetch from a remote root what an earlier build of this key kept; skip folders without manifest."""
        self.work.mkdir(parents=True, exist_ok=True)
        if not isinstance(self.store.backend, FsspecBackend):
            return
        prefix = f"work/{self.stage}/{self.key}/"
        names = list(self.store.backend.names(prefix.rstrip("/")))
        whole = {name.removeprefix(prefix).split("/")[0] for name in names if name.endswith(MANIFEST)}
        for name in names:
            relative = name.removeprefix(prefix)
            if relative.split("/")[0] in whole and is_inside(relative):
                target = self.work / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                self.store.backend.get(name, target)

    def finish(self) -> None:
        """Delete work in progress, after the artifact was published."""
        if self.store.local is None:
            for name in list(self.store.backend.names(f"work/{self.stage}/{self.key}")):
                self.store.backend.delete(name)
        shutil.rmtree(self.store.work(self.stage, self.key), ignore_errors=True)
