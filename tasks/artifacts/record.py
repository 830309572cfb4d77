"""The record of an artifact: written last, so an artifact exists only once its record does."""

import hashlib
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tasks.artifacts.keys.key import canonical
from tasks.artifacts.names import are_files
from tasks.config.errors import MachineError
from tasks.config.json_types import JsonObject

FORMAT = 1
"""Version of records and of the layout around them. A store with a higher one is refused."""


class Member(BaseModel):
    """One file of an artifact, named by its digest. `stamp` is the (inode, mtime in ns) of a local blob when it was
    last verified: while both are unchanged, its sha256 need not be computed again."""

    model_config = ConfigDict(frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    stamp: tuple[int, int] | None = None


def _valid_names(members: dict[str, Member]) -> dict[str, Member]:
    if not are_files(members):
        raise ValueError("a member's name is not that of a file inside the artifact")
    return members


Members = Annotated[dict[str, Member], AfterValidator(_valid_names)]


class KeyDocument(BaseModel):
    """The parts of a record's document that are read back to explain a miss, compare runs, and estimate."""

    config: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    files: dict[str, str] = {}
    code: dict[str, str] = {}
    environment: dict[str, str] = {}


def _readable(document: JsonObject) -> JsonObject:
    KeyDocument.model_validate(document)
    return document


class Record(BaseModel):
    """An artifact: what it was built from (`document`, with `key` its sha256), its files, and the run that built it."""

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
        """Return this record as bytes that can be verified: its sha256, then its canonical JSON."""
        body = canonical(self.model_dump(mode="json"))
        return f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n".encode()

    @classmethod
    def unseal(cls, data: bytes) -> Self:
        """Return the record that `seal` wrote.

        Raises:
            TornRecord: the bytes do not match their digest, or are not a record.
            NewerStore: the record was written by a later version of this project.
        """
        digest, _, body = data.partition(b"\n")
        body = body.removesuffix(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise DamagedRecord
        try:
            if _Version.model_validate_json(body).format > FORMAT:
                raise NewerStore(f"the store was written by a newer finetune-flow; this one reads format {FORMAT}")
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise DamagedRecord from error


class _Version(BaseModel):
    """The field that all versions of a record have."""

    format: int = 0


class DamagedRecord(Exception):
    """A record's bytes are damaged."""


class NewerStore(MachineError):
    """The store was written by a later version. Nothing in it is changed."""
