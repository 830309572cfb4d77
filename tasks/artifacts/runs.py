"""A run's own record, `runs/<id>.json`, as others read it: `gc`, `finetune runs`, `show`, `compare`."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.artifacts.store import Store


class _Part(BaseModel):
    """What is not named here may stand there too."""

    model_config = ConfigDict(extra="allow")


class _Stage(_Part):
    stage: str
    key: str


class _Model(_Part):
    name: str | None = None


class _Config(_Part):
    task: str = ""
    model: _Model | None = None
    eval: dict[str, Any] | None = None


class _Run(_Part):
    state: str | None = None
    started: str | None = None
    name: str | None = None
    model_path: str | None = None
    building: tuple[str, str] | None = None
    stages: list[_Stage] = []
    config: _Config | None = None
    metrics: dict[str, float | None] = {}


def read_run(store: Store, name: str) -> dict[str, Any] | None:
    """The record called `name` as it was written; None if it is gone, torn, or no run's."""
    try:
        data = store.backend.read(name)
        _Run.model_validate_json(data)
    except (FileNotFoundError, IsADirectoryError, ValidationError):
        return None
    return json.loads(data)  # type: ignore[no-any-return]
