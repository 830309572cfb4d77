"""One build for one key, whoever asks and whoever dies."""

import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks import STAGES
from tests.kill.warm import Child, Warm, warm_parent
from tests.tiny import make_config

pytestmark = pytest.mark.slow
SCENE = "tests.race.scenes:build_aloud"
RUNS = 8


@pytest.fixture(scope="module")
def warm() -> Warm:
    return warm_parent()


def started(warm: Warm, config: dict[str, Any], folder: Path, fatal: Sequence[str] = ()) -> list[Child]:
    """Eight runs that begin at once."""
    go = folder / "go"
    arguments = {"config": config, "events": str(folder / "events"), "go": str(go), "fatal": list(fatal)}
    children = [warm.start(SCENE, **arguments) for _ in range(RUNS)]
    (folder / "events").touch()
    go.touch()
    return children


def builders(folder: Path) -> list[tuple[int, str]]:
    """Who began to build what, in order."""
    lines = [line.split() for line in (folder / "events").read_text().splitlines()]
    return [(int(pid), stage) for pid, stage in lines]


def test_many_runs_build_each_artifact_once(warm: Warm, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=4)
    results = [child.wait().result for child in started(warm, config, tmp_path)]

    builds = Counter(stage for result in results for stage, state in result["stages"].items() if state == "built")
    assert builds == Counter(STAGES)
    bodies = Counter(stage for _, stage in builders(tmp_path))
    assert bodies == Counter(STAGES)
    assert len({json.dumps([result["weights"], result["metrics"]]) for result in results}) == 1
    records = [json.loads(path.read_text()) for path in (tmp_path / "store").glob("runs/*.json")]
    assert len(records) == RUNS
    assert {record["state"] for record in records} == {"completed"}
    said = Counter(entry["stage"] for record in records for entry in record["stages"] if entry["state"] == "built")
    assert said == Counter(STAGES)


def test_builders_are_killed_and_others_take_over(warm: Warm, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=4)
    fatal = random.sample(STAGES[:10], 4)
    ends = {child.pid: child.wait() for child in started(warm, config, tmp_path, fatal)}
    killed = {pid for pid, end in ends.items() if end.code == -signal.SIGKILL}
    assert len(killed) == 4, fatal
    results = [end.result for pid, end in ends.items() if pid not in killed]
    assert len({json.dumps([result["weights"], result["metrics"]]) for result in results}) == 1
    bodies = Counter(stage for _, stage in builders(tmp_path))
    assert set(bodies) == set(STAGES)
    assert bodies.total() <= len(STAGES) + len(killed), "a death costs one more build, and no more"
