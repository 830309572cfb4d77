"""What a stopped run is called in Prefect: Cancelled, and so is the task it stopped in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import Request, urlopen

import pytest

from flows import finetune
from tasks.config import Interrupted
from tests.served import until
from tests.tiny import make_config

STOP = "stopped by signal 2 after step 1 of 2"


def interrupt(build: Any, **_: Any) -> NoReturn:
    raise Interrupted(STOP)


def ctrl_c(build: Any, **_: Any) -> NoReturn:
    raise KeyboardInterrupt


def post(url: str, kind: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    request = Request(f"{url}/{kind}/filter", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as response:
        return json.load(response)


def flow_of(url: str, store: Path) -> dict[str, Any]:
    """The flow run of the one run in a store."""
    (record,) = [json.loads(path.read_text()) for path in (store / "runs").glob("*.json")]
    assert record["state"] == "interrupted"
    (found,) = post(url, "flow_runs", {"flow_runs": {"name": {"any_": [record["run"].rsplit("-", 1)[0]]}}})
    return found


def test_a_training_stopped_by_a_signal(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=STOP):
        finetune(make_config(bert, rows, tmp_path), stages={"s09_train": interrupt})
    flow = flow_of(prefect_api, tmp_path)
    assert (flow["state"]["type"], flow["state"]["message"]) == ("CANCELLED", STOP)

    def stopped() -> dict[str, Any] | None:
        tasks = post(prefect_api, "task_runs", {"task_runs": {"flow_run_id": {"any_": [flow["id"]]}}})
        return next(
            (each for each in tasks if each["name"].startswith("s09") and each["state_type"] != "RUNNING"), None
        )

    assert until(stopped)["state_type"] == "CANCELLED"


def test_ctrl_c_before_a_training(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="the same command goes on"):
        finetune(make_config(bert, rows, tmp_path), stages={"s05_tokenize": ctrl_c})
    assert flow_of(prefect_api, tmp_path)["state"]["type"] == "CANCELLED"
    assert finetune(make_config(bert, rows, tmp_path), ["train.max_steps=1"]).metrics
