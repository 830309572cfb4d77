"""Reads the records of runs (`runs/<id>.json`) and sweeps (`grids/<id>.json`) for `gc`, `finetune runs`, `show` and
`compare`."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from tasks.artifacts.store import Miss, Store
from tasks.config.json_types import JsonObject


def _iso(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Time = Annotated[str, AfterValidator(_iso)]


class _Part(BaseModel):
    """Base of the fields that are read. Extra fields are allowed; earlier versions may lack those with a default."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Stage(_Part):
    stage: str
    key: str
    state: str = ""
    seconds: float = 0.0
    reason: str = ""
    warnings: list[str] = []
    of: str = ""


class _Model(_Part):
    name: str | None = None


class _Eval(_Part):
    best: str | None = None


class _Config(_Part):
    task: str = ""
    model: _Model | None = None
    eval: _Eval | None = None
    train: dict[str, Any] | None = None


class _Failure(_Part):
    stage: str | None
    kind: str
    message: str


class _Scores(_Part):
    rows: int
    precision: float
    recall: float
    f1: float


class _Classes(_Part):
    scores: dict[str, _Scores]
    confused: list[tuple[str, str, int]] = []
    confusion: list[list[int]] = []


class _Data(_Part):
    rows: dict[str, int] = {}
    columns: dict[str, Any] | None = None
    sources: dict[str, Any] = {}
    warnings: list[str] = []


def _counted(metrics: dict[str, float | None]) -> dict[str, float | None]:
    if metrics.get("rows") is None:
        raise ValueError("rows are missing")
    return metrics


Slice = Annotated[dict[str, float | None], AfterValidator(_counted)]


class _Run(_Part):
    state: str | None = None
    started: Time | None = None
    updated: Time | None = None
    name: str | None = None
    config_file: str | None = None
    model_path: str | None = None
    kept: str | None = None
    building: tuple[str, str] | None = None
    stages: list[_Stage] = []
    warnings: list[str] = []
    failure: _Failure | None = None
    config: _Config | None = None
    given: list[tuple[str, Any, str]] | None = None
    metrics: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float]] = {}
    slices: dict[str, dict[str, Slice]] = {}
    classes: dict[str, _Classes] = {}
    data: _Data = _Data()


class _Cell(_Part):
    overrides: dict[str, Any] = {}
    state: str = "interrupted"
    metrics: dict[str, float | None] = {}
    group: int
    run: str | None = None


class _Row(_Part):
    overrides: dict[str, Any]
    state: str
    group: int
    share: float
    rank: int | None = None
    value: float | None = None
    spread: float | None = None
    metrics: dict[str, float | None] = {}
    error: str | None = None


class _Best(_Part):
    overrides: dict[str, Any]
    metrics: dict[str, float | None]
    run: str | None = None
    path: str | None = None
    kept: str | None = None


class _Rung(_Part):
    share: float
    groups: int
    agreement: float | None = None


class _Sweep(_Part):
    state: str
    metric: str
    greater_is_better: bool
    cells: list[_Cell]
    leaderboard: list[_Row]
    built: dict[str, int]
    rungs: list[_Rung]
    steps: dict[str, int]
    best: _Best | None = None
    started: str | None = None
    ended: str | None = None
    name: str | None = None
    task: str | None = None
    model: str | None = None
    report: str | None = None


def read_run(store: Store, name: str) -> JsonObject | Miss:
    """Return the run's record `name` as it was written; a `Miss` if it is gone (MISSING) or invalid (DAMAGED)."""
    return _read(store, name, _Run)


def read_sweep(store: Store, name: str) -> JsonObject | Miss:
    """Return the sweep's record `name` as it was written; a `Miss` if it is gone (MISSING) or invalid (DAMAGED)."""
    return _read(store, name, _Sweep)


def _read(store: Store, name: str, shape: type[_Part]) -> JsonObject | Miss:
    try:
        data = store.backend.read(name)
        shape.model_validate_json(data)
    except FileNotFoundError:
        return Miss("MISSING", "it is gone")
    except IsADirectoryError:
        return Miss("DAMAGED", "it is a folder")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return Miss("DAMAGED", ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"]))))
    return json.loads(data)  # type: ignore[no-any-return]


def own_stages(record: Mapping[str, Any]) -> list[JsonObject]:
    """Return what a run's record says of the stages of its own task, without those called for other tasks."""
    return [entry for entry in record.get("stages") or () if not entry.get("of")]
