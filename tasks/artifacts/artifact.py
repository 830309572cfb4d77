"""An artifact as a stage reads it: members as local files, proved, memory-mapped where they lie."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.artifacts.formats import json
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store


class Artifact:
    """A published artifact opened in its store.

    Args:
        ref: which artifact.
        store: where its blobs lie.
    """

    def __init__(self, ref: ArtifactRef, store: Store) -> None:
        self.ref, self.store = ref, store

    def __contains__(self, name: str) -> bool:
        return name in self.ref.members

    def path(self, name: str) -> Path:
        """A local file with the bytes of a member (its name is the blob's; see `view` for real names)."""
        return self.store.path(self.ref.members[name])

    def paths(self, start: str) -> dict[str, Path]:
        """As `path`, of each member whose name begins with `start`."""
        return {name: self.path(name) for name in self.ref.members if name.startswith(start)}

    def json(self, name: str) -> Any:
        """A JSON member's value."""
        return json.read(self.path(name))

    def externals(self) -> dict[str, Path]:
        """Where on this machine the files lie that the artifact refers to but does not hold, by name."""
        return {name: Path(path) for name, path in self.ref.external.items()}

    def view(self, *, external: bool = False) -> Path:
        """A scratch folder in which each member (and, if asked, each external file) has its own name.

        Links, not copies: libraries that want a model folder get one for nothing.
        """
        folder = self.store.scratch() / "views" / uuid4().hex
        links = {name: self.path(name) for name in self.ref.members}
        if external:
            links = self.externals() | links
        for name, target in links.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.resolve())
        return folder
