"""`store`: where the results of stages are stored."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tasks.config.sections.secrets import NO_CREDENTIALS
from tasks.config.sections.section import PathText, Section


class StoreConfig(Section):
    """The artifact store."""

    bare: ClassVar[str] = "root"

    root: PathText | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=NO_CREDENTIALS,
        description="Folder or fsspec URL of the store; memory: nothing is kept. "
        "Omit: $FINETUNE_STORE, else ~/.cache/finetune-flow/store (below $XDG_CACHE_HOME if that is set).",
    )
    verify: Literal["size", "full"] = Field(
        default="full", description="How stored files are verified before use: by size, or fully by checksum."
    )
