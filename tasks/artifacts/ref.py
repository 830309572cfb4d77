"""What one stage hands to the next: a small, frozen piece of JSON. Never a live object, never a pickle."""

from fnmatch import fnmatch
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.artifacts.keys.key import key_of
from tasks.artifacts.record import Member, Members


class ArtifactRef(BaseModel):
    """A published artifact.

    `digest` names the bytes of its members: a rebuild that yields equal bytes has an equal digest, so nothing after
    it is redone. Not in the digest are `facts` (for people: counts, names), `run` (who built it) and `external` (where
    on this machine the files lie that an artifact speaks of but does not copy: base weights).
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
        """Return this artifact narrowed to the members that match: what a stage is not given cannot invalidate it.

        Raises:
            KeyError: a pattern matches no member.
        """
        chosen: dict[str, Member] = {}
        for pattern in patterns:
            found = {name: member for name, member in self.members.items() if fnmatch(name, pattern)}
            if not found and "*" not in pattern:
                raise KeyError(f"{self.stage} has no member {pattern!r}; it has {sorted(self.members)}")
            chosen |= found
        return self._with(dict(sorted(chosen.items())))

    def without(self, *names: str) -> "ArtifactRef":
        """Return this artifact less some members: those of no account to the stage it is given to."""
        return self._with({name: member for name, member in self.members.items() if name not in names})

    def _with(self, members: dict[str, Member]) -> "ArtifactRef":
        fields = {name: getattr(self, name) for name in type(self).model_fields}  # not the digest, as a copy would
        return ArtifactRef.model_construct(**{**fields, "members": members})
