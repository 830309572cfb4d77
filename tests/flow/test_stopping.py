"""What a stopped run is called in Prefect: Cancelled, and so is the task it stopped in."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import Request, urlopen

import psutil
import pytest

from flows import finetune
from tasks.config import Interrupted
from tests.flow.scenes import good
from tests.served import until
from tests.tiny import make_config

STOP = "stopped by signal 2 after step 1 of 2"


def interrupt(build: Any, **_: Any) -> NoReturn:
    raise Interrupted(STOP)


def terminated(build: Any, **_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("it was not heeded")


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
    with pytest.raises(Interrupted, match="run the same command again"):
        finetune(make_config(bert, rows, tmp_path), stages={"s05_tokenize": ctrl_c})
    assert flow_of(prefect_api, tmp_path)["state"]["type"] == "CANCELLED"
    assert finetune(make_config(bert, rows, tmp_path), ["train.max_steps=1"]).metrics


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["a run that ends", "a run that is stopped"])
def test_an_api_that_goes_away_costs_its_view_only(
    fails: bool, bert: Path, rows: Path, tmp_path: Path, caplog: Any, capfd: Any
) -> None:
    """The run's own API dies in stage 10: what the run returns, or raises, is what it came to."""

    before = psutil.Process().children()

    def no_more(build: Any, **inputs: Any) -> Mapping[str, Any]:
        (child,) = set(psutil.Process().children()) - set(before)
        child.kill()
        child.wait()
        if fails:
            raise Interrupted(STOP)
        return good(build, **inputs)

    config = make_config(bert, rows, tmp_path, train__max_steps=1)
    if fails:
        with pytest.raises(Interrupted, match=STOP):
            finetune(config, stages={"s10_evaluate": no_more})
    else:
        assert finetune(config, stages={"s10_evaluate": no_more}).metrics["test_accuracy"] == 0.91
    assert caplog.text.count("Prefect's API is gone") == 1
    assert "Traceback" not in (said := capfd.readouterr().err) and "Error logging to API" not in said


def test_sigterm_outside_a_training(prefect_api: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped by signal 15; run the same command again"):
        finetune(make_config(bert, rows, tmp_path, train__max_steps=1), stages={"s10_evaluate": terminated})
    assert flow_of(prefect_api, tmp_path)["state"]["type"] == "CANCELLED"
