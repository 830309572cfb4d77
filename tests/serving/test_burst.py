"""Many clients that write at once: on SQLite too, each waits its turn, and none is turned away."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.served import HANG

pytestmark = pytest.mark.slow


def test_writers_wait_their_turn(prefect_api: str) -> None:
    def post(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        request = Request(f"{prefect_api}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=HANG) as response:
                return response.status, json.loads(response.read())
        except HTTPError as error:
            return error.code, None

    def play(_: int) -> list[int]:
        made, run = post("/flow_runs/", {"flow_id": flow["id"], "state": {"type": "PENDING"}})
        started = post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}})[0] if run else 0
        return [made, started]

    flow = post("/flows/", {"name": "burst"})[1]
    with ThreadPoolExecutor(16) as clients:
        codes = [code for found in clients.map(play, range(96)) for code in found]
    assert set(codes) <= {200, 201}, codes
