"""The one object that makes an artifact exist. It is written last; what has no record was never built."""

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.artifacts.key import canonical
from tasks.config.errors import MachineError

FORMAT = 1
"""Version of records and of the layout around them. A store with a higher one is refused, not guessed at."""


class Member(BaseModel):
    """One file of an artifact, named by its bytes. `stamp` is the (inode, mtime in ns) under which a local blob was
    last proved: as long as both stand, its sha256 need not be computed again."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int
    stamp: tuple[int, int] | None = None


class Record(BaseModel):
    """An artifact: the question it answers (`document`, whose sha256 is `key`), its files, and who built it."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    stage: str
    key: str
    document: dict[str, Any]
    members: dict[str, Member]
    facts: dict[str, Any]
    run: str
    created: str
    seconds: float

    def seal(self) -> bytes:
        """This record as bytes that prove themselves: its canonical JSON, under its sha256."""
        body = canonical(self.model_dump(mode="json"))
        return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n".encode()

    @classmethod
    def unseal(cls, data: bytes) -> Self:
        """Return the record that `seal` wrote.

        Raises:
            TornRecord: the bytes are not those that were written.
            NewerStore: they were written by a later version of this project.
        """
        digest, _, body = data.partition(b"\n")
        body = body.removesuffix(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise TornRecord
        if json.loads(body).get("format", 0) > FORMAT:
            raise NewerStore(f"the store was written by a newer finetune-flow; this one reads format {FORMAT}")
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise TornRecord from error


class TornRecord(Exception):
    """A record's bytes are not those that were written."""


class NewerStore(MachineError):
    """The store's format is from the future: it is refused, and nothing in it is touched."""
