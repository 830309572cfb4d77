"""Called from Python: as a subflow, where an event loop runs, under other result settings, from threads."""

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows import finetune, grid
from flows.api import run
from tasks import STAGES
from tasks.config import ConfigError, RunConfig, load
from tasks.execution.execute import exclusive_run
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.served import HANG
from tests.tiny import make_config

CHILD = """
import json, sys
from flows import finetune
done = finetune(json.loads(sys.argv[1]))
print(json.dumps(sorted({entry.state for entry in done.stages})))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, bert: Path, rows: Path) -> dict[str, Any]:
    """A run that has been made: the same call finds everything."""
    config = make_config(bert, rows, tmp_path_factory.mktemp("store"), train__max_steps=2)
    executed(config)
    return config


def test_as_a_subflow(prefect_api: str, config: dict[str, Any]) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @flow
    def mine() -> dict[str, float]:
        return finetune(config).metrics

    with temporary_settings({PREFECT_API_URL: prefect_api}):  # the environment is read once a process
        assert "test_accuracy" in mine()


def test_a_dict_and_a_config_are_the_same_run(prefect_api: str, config: dict[str, Any]) -> None:
    done = finetune(RunConfig.model_validate(config))
    assert [entry.stage for entry in done.stages] == list(STAGES)
    assert {entry.state for entry in done.stages} == {"cached"}


def test_where_an_event_loop_runs_as_in_a_notebook(prefect_api: str, config: dict[str, Any]) -> None:
    async def cell() -> Any:
        return finetune(config, ["seed=2"])

    model, _ = asyncio.run(cell())
    assert not model.training


SETTINGS = ["PREFECT_RESULTS_PERSIST_BY_DEFAULT", "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"]


@pytest.mark.parametrize("setting", slow_except(SETTINGS[1:], SETTINGS))
def test_under_other_result_settings_nothing_is_pickled(
    prefect_api: str, config: dict[str, Any], setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.filesystems import LocalFileSystem
    from prefect.settings import PREFECT_API_URL, temporary_settings

    place = tmp_path / "results"
    with temporary_settings({PREFECT_API_URL: prefect_api}):  # the environment is read once a process
        LocalFileSystem(basepath=str(place)).save("elsewhere", overwrite=True)  # pyright: ignore — sync here
    monkeypatch.setenv(setting, "true" if setting.endswith("DEFAULT") else "local-file-system/elsewhere")
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(place))
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["cached"]
    assert not list(place.rglob("*")) or not [path for path in place.rglob("*") if path.is_file()]


def test_a_second_run_in_a_thread_is_refused_with_the_reason(prefect_api: str, config: dict[str, Any]) -> None:
    inside, leave, ends = threading.Event(), threading.Event(), list[Any]()

    def wait(_: Any) -> None:
        inside.set()
        leave.wait(HANG)

    first = threading.Thread(target=lambda: ends.append(run(load(config, ["seed=3"]), listener=wait)))
    first.start()
    try:
        assert inside.wait(HANG)
        with pytest.raises(ConfigError, match="random generator"):
            finetune(config)
    finally:
        leave.set()
        first.join(HANG)
    assert [type(end).__name__ for end in ends] == ["FineTuned"]
    assert {entry.state for entry in finetune(config).stages} == {"cached"}  # and then it may


def test_a_sweep_beside_a_run_in_another_thread_is_refused_with_the_reason(config: dict[str, Any]) -> None:
    with ThreadPoolExecutor(1) as pool, exclusive_run():
        beside = pool.submit(grid, {**config, "sweep": {"seeds": [1, 2]}})
        with pytest.raises(ConfigError, match="random generator"):
            beside.result(HANG)


def test_a_run_beside_a_sweep_in_another_thread_is_refused(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sweeps, too: the first one holds the process until it has ended."""
    refused = list[str]()

    def carried_out(*_: Any, **__: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            for call in (lambda: finetune(config), lambda: grid({**config, "sweep": {"seeds": [1, 2]}})):
                refused.append(str(pool.submit(call).exception(HANG)))

    monkeypatch.setattr("flows.sweep.api.launch.in_flow", lambda: True)
    monkeypatch.setattr("flows.sweep.flow.grid", carried_out)
    grid({**config, "sweep": {"seeds": [1, 2]}})
    assert len(refused) == 2 and all("random generator" in each for each in refused)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["subflow", "event loop"])
def test_a_sweep_as_a_subflow_and_where_an_event_loop_runs(prefect_api: str, config: dict[str, Any], how: str) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    swept = {**config, "sweep": {"seeds": [1, 2], "parallel": 2}}

    @flow
    def mine() -> Any:
        return grid(swept)

    async def cell() -> Any:
        return grid(swept)

    with temporary_settings({PREFECT_API_URL: prefect_api}):  # the environment is read once a process
        done = mine() if how == "subflow" else asyncio.run(cell())
    assert done.state == "completed" and len(done.cells) == 2
    model, _ = done
    assert not model.training


def test_a_failed_run_leaves_the_way_free(prefect_api: str, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        finetune(config, ["export.merge=true"])
    assert finetune(config).metrics
