"""The one object that makes an artifact exist. It is written last; what has no record was never built."""

import hashlib
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tasks.artifacts.keys.key import canonical
from tasks.artifacts.names import are_files
from tasks.config.errors import MachineError

FORMAT = 1
"""Version of records and of the layout around them. A store with a higher one is refused."""


class Member(BaseModel):
    """One file of an artifact, named by its bytes. `stamp` is the (inode, mtime in ns) under which a local blob was
    last proved: as long as both stand, its sha256 need not be computed again."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    stamp: tuple[int, int] | None = None


def _of_one_folder(members: dict[str, Member]) -> dict[str, Member]:
    if not are_files(members):
        raise ValueError("a member's name is no file inside the artifact")
    return members


Members = Annotated[dict[str, Member], AfterValidator(_of_one_folder)]


class Question(BaseModel):
    """The parts of a record's document that are read again: to explain a miss, to compare runs, to estimate."""

    config: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    files: dict[str, str] = {}
    code: dict[str, str] = {}
    environment: dict[str, str] = {}


def _readable(document: dict[str, Any]) -> dict[str, Any]:
    Question.model_validate(document)
    return document


class Record(BaseModel):
    """An artifact: the question it answers (`document`, whose sha256 is `key`), its files, and who built it."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    stage: str
    key: str
    document: Annotated[dict[str, Any], AfterValidator(_readable)]
    members: Members
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
        try:
            if _Version.model_validate_json(body).format > FORMAT:
                raise NewerStore(f"the store was written by a newer finetune-flow; this one reads format {FORMAT}")
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise TornRecord from error


class _Version(BaseModel):
    """The field that all versions of a record have."""

    format: int = 0


class TornRecord(Exception):
    """A record's bytes are not those that were written."""


class NewerStore(MachineError):
    """The store was written by a later version: it is refused, and nothing in it is changed."""
