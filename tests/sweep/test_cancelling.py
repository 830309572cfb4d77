"""Whether a cell is to be stopped, as Prefect's API says it, or does not."""

import os
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType

from tasks.config import SweepConfig
from tasks.config.errors import MachineError
from tasks.runtime.parallel.fanout import Fanout
from tasks.runtime.prefect_api.cancelling import cancellation

CELL, SWEEP = str(uuid4()), str(uuid4())


class Client:
    """Answers with what it is told to, or not at all."""

    def __init__(self, states: dict[str, Any]) -> None:
        self.states = states

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, flow_run: Any) -> SimpleNamespace:
        if not self.states:
            raise ConnectionError("nobody is there")
        return SimpleNamespace(state_type=self.states[str(flow_run)])


@pytest.mark.parametrize(
    ("cell", "sweep", "stop"),
    [("RUNNING", "RUNNING", False), ("CANCELLING", "RUNNING", True), ("RUNNING", "CANCELLING", True),
     ("RUNNING", "CANCELLED", True), ("RUNNING", "CRASHED", True), ("PENDING", "RUNNING", False)],
)  # fmt: skip
def test_it_is_stopped_with_its_sweep_or_alone(
    cell: str, sweep: str, stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {CELL: StateType(cell), SWEEP: StateType(sweep)}
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: Client(states))
    with cancellation(CELL, SWEEP) as cancelled:
        assert cancelled() is stop


def test_an_api_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: Client({}))
    with cancellation(CELL, SWEEP) as cancelled:
        assert not any(cancelled() for _ in range(100))


class Refusing:
    """A cluster that does not answer; its client has changed the environment by then."""

    def __enter__(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        raise ConnectionError("refused")

    def __exit__(self, *_: object) -> None:
        pass


def test_a_cluster_that_does_not_answer_is_named_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.runtime.parallel.fanout.runner_of", lambda *_: Refusing())
    sweep = SweepConfig.model_validate(
        {"grid": {"train.learning_rate": [1e-3]}, "runner": "dask", "address": "tcp://nowhere:1"}
    )
    with pytest.raises(MachineError, match=r"sweep\.address: tcp://nowhere:1 cannot be used: refused"):
        Fanout(sweep, {"cpu": 1}).__enter__()
