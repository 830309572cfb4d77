"""A reference to an artifact, which one stage passes to the next: small, frozen, JSON-serializable."""

from fnmatch import fnmatch
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.artifacts.keys.key import key_of
from tasks.artifacts.record import Member, Members


class ArtifactRef(BaseModel):
    """A published artifact.

    `digest` identifies the bytes of its members: a rebuild that yields equal bytes has an equal digest, so no later
    stage is rebuilt. Not in the digest are `facts` (counts and names, for people), `run` (which built it) and
    `external` (local paths of files that the artifact refers to but does not copy, such as base weights).
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    members: Members
    run: str = ""
    facts: dict[str, Any] = {}
    external: dict[str, str] = {}

    @cached_property
    def digest(self) -> str:
        """sha256 over the members' names and digests."""
        return key_of({name: member.sha256 for name, member in self.members.items()})

    def select(self, *patterns: str) -> "ArtifactRef":
        """Return this artifact with only the matching members, so that others do not invalidate a stage's result.

        Raises:
            KeyError: a pattern without `*` matches no member.
        """
        chosen: dict[str, Member] = {}
        for pattern in patterns:
            found = {name: member for name, member in self.members.items() if fnmatch(name, pattern)}
            if not found and "*" not in pattern:
                raise KeyError(f"{self.stage} has no member {pattern!r}; it has {sorted(self.members)}")
            chosen |= found
        return self._with(dict(sorted(chosen.items())))

    def without(self, *names: str) -> "ArtifactRef":
        """Return this artifact without the named members, which do not matter to the receiving stage."""
        return self._with({name: member for name, member in self.members.items() if name not in names})

    def _with(self, members: dict[str, Member]) -> "ArtifactRef":
        # a copy would keep the cached digest
        fields: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        return ArtifactRef.model_construct(None, **{**fields, "members": members})
