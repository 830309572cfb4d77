"""An artifact as a stage reads it: its members as verified local files."""

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
        store: where its blobs are.
    """

    def __init__(self, ref: ArtifactRef, store: Store) -> None:
        self.ref, self.store = ref, store

    def __contains__(self, name: str) -> bool:
        return name in self.ref.members

    def path(self, name: str) -> Path:
        """Return a local file with the bytes of a member, named as the blob (`view` has the members' names)."""
        return self.store.path(self.ref.members[name])

    def paths(self, start: str) -> dict[str, Path]:
        """Return the `path` of each member with a name that begins with `start`, by name."""
        return {name: self.path(name) for name in self.ref.members if name.startswith(start)}

    def json(self, name: str) -> Any:
        """Return the value of a JSON member."""
        return json.read(self.path(name))

    def externals(self) -> dict[str, Path]:
        """Return the local paths of files that the artifact refers to but does not contain, by name."""
        return {name: Path(path) for name, path in self.ref.external.items()}

    def view(self, *, external: bool = False) -> Path:
        """Return a scratch folder with each member (and with `external` each external file) under its own name.

        They are links, not copies: libraries that need a model folder get one at no cost.
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
