"""A sweep on a cluster of other machines: what its workers cannot reach is refused, or named where it is missing."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from flows.sweep import cell
from flows.sweep.execute import execute_sweep
from tasks.config import ConfigError, SweepConfig, load_sweep
from tasks.runtime.parallel.reach import check_api
from tests.tiny import make_config

LOCAL = "http://127.0.0.1:4217/api"
SWEEP: dict[str, Any] = {"seeds": [1, 2]}


def sweep(runner: str, address: str | None) -> SweepConfig:
    return SweepConfig.model_validate({**SWEEP, "runner": runner, "address": address})


@pytest.mark.parametrize(
    "url", [LOCAL, "http://localhost:4200/api", "http://[::1]:4200/api", "http://0.0.0.0:4200/api", None]
)
@pytest.mark.parametrize(
    ("runner", "address"),
    [
        ("dask", "tcp://head:8786"),
        ("dask", "203.0.113.7:8786"),
        ("ray", "ray://head.cluster:10001"),
        ("ray", "head:6379"),
    ],
)
def test_a_cluster_elsewhere_needs_an_api_that_it_reaches(runner: str, address: str, url: str | None) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.address: .*set PREFECT_API_URL") as refused:
        check_api(sweep(runner, address), url)
    assert address in str(refused.value)


@pytest.mark.parametrize(
    ("runner", "address", "url"),
    [
        ("processes", None, LOCAL),
        ("ray", None, LOCAL),
        ("ray", "auto", LOCAL),
        ("ray", "ray://127.0.0.1:10001", LOCAL),
        ("dask", "tcp://localhost:8786", None),
        ("dask", f"tcp://{socket.gethostname()}:8786", LOCAL),
        ("dask", "tcp://head:8786", "http://prefect.example:4200/api"),
        ("ray", "head:6379", "https://10.0.0.3/api"),
    ],
)
def test_what_can_be_reached_is_taken(runner: str, address: str | None, url: str | None) -> None:
    check_api(sweep(runner, address), url)


def test_it_is_refused_before_any_cell_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    config = make_config(tmp_path, tmp_path, tmp_path / "store")
    loaded = load_sweep({**config, "sweep": {**SWEEP, "runner": "dask", "address": "tcp://head:8786"}})
    with temporary_settings({PREFECT_API_URL: LOCAL}), pytest.raises(ConfigError, match=r"sweep\.address"):
        execute_sweep(loaded.base.config, loaded.sweep, lambda _: None)


def order(folder: Path, place: Path, config: dict[str, Any], host: str = "head") -> Path:
    """An order as a cluster's worker gets it."""
    place.mkdir(exist_ok=True)
    spec = {"config": config, "origin": {}, "folder": str(folder), "host": host, "slots": {"cpu": 1}, "until": None,
            "outcome": str(place / "outcome.json"), "awaited_by": os.getpid()}  # fmt: skip
    (place / "order.json").write_text(json.dumps(spec))
    return place / "order.json"


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a cell runs in this process, which gets its folder back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_worker_without_the_folder_says_so(where: Path) -> None:
    told = order(where / "only-on-the-head", where / "cell", {})
    assert cell.run_cell(str(told)) == 5
    outcome = json.loads((where / "cell" / "outcome.json").read_text())
    assert outcome["state"] == "failed" and outcome["kind"] == "MachineError" and not outcome["begun"]
    for said in (socket.gethostname(), "only-on-the-head", "a folder that every worker has"):
        assert said in outcome["error"]


@pytest.mark.parametrize(("host", "named"), [("head", True), (socket.gethostname(), False)])
def test_a_variable_that_a_worker_lacks_is_named_with_the_worker(
    where: Path, host: str, named: bool, prefect_api: str, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.delenv("ROWS_DB", raising=False)
    config = make_config(bert, "sql:$ROWS_DB::select * from rows", where / "store")  # type: ignore[arg-type]
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        assert cell.run_cell(str(order(where, where / "cell", config, host))) == 2
    error = json.loads((where / "cell" / "outcome.json").read_text())["error"]
    assert "data.train: $ROWS_DB" in error and "not set in the environment" in error
    assert error.startswith(f"{socket.gethostname()}: ") is named


def test_a_variable_missing_from_a_web_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.config import DataError
    from tasks.data.sources import locate

    def refuse(url: str) -> Any:
        raise OSError("404")

    monkeypatch.setattr(locate, "_filesystem", refuse)
    monkeypatch.delenv("ROWS_TOKEN", raising=False)
    with pytest.raises(DataError, match=r"\$ROWS_TOKEN is not set in the environment"):
        locate._remote("https://host.example/$ROWS_TOKEN/rows.csv", "data.train", tmp_path)
