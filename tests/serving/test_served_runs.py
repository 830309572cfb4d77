"""Runs of a deployment, started through the API of a real server and carried out by a real worker."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.pipeline import pipeline
from tasks import STAGES
from tasks.config import RunConfig
from tasks.execution.execute import execute
from tests.served import HANG, Refused, Served, in_training, parameters, until, weights
from tests.tiny import WORDS

pytestmark = pytest.mark.slow
STEPS = 500  # some seconds of training


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def prefect(served: Served, *words: str) -> str:
    """Prefect's own command, on our server."""
    environment = {**served.environment, "PREFECT_API_URL": served.url}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words], env=environment, cwd=served.place,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cancel(served: Served, run: str) -> None:
    """Cancel the run that is at it; it stands still meanwhile, so that it cannot be done before."""
    engine = served.engine()
    family = [engine, *engine.children(recursive=True)]
    for each in family:
        each.suspend()
    prefect(served, "flow-run", "cancel", run)
    until(lambda: served.state(run)[0] in ("Cancelling", "Cancelled"), served.log)
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.resume()


def undisturbed(given: dict[str, Any], place: Path) -> dict[str, str]:
    """The weights of the same run with nothing in its way."""
    execute(RunConfig.model_validate(given | {"store": {"root": str(place)}}), pipeline)
    return weights(place)


def test_a_run_comes_to_its_twelve_stages(served: Served, bert: Path, rows: Path, store: Path) -> None:
    given = parameters(bert, rows, store)
    first = served.create(given)
    assert served.end(first) == "Completed", served.log()
    assert served.tasks(first) == dict.fromkeys(STAGES, "Completed")
    again = served.create(given)
    assert served.end(again) == "Completed"
    assert served.tasks(again) == dict.fromkeys(STAGES, "Cached")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"train": {"learning_rate": -1}}, "learning_rate"),
        ({"train": {"lerning_rate": 1}}, "lerning_rate"),
        ({"seed": -1}, "seed"),
        ({"modle": "m"}, "modle"),
        ({"preset": "txt"}, "preset"),
        ({"peft": {"method": "loar"}}, "peft"),
        ({"secrets": {"TOKEN": "tr0ub4dor_X"}}, "secrets"),
        ({"store": {"root": "s3://key:tr0ub4dor@bucket/x"}}, "root"),
        ({"data": {"train": "s3://key:tr0ub4dor@bucket/x"}}, "data"),
    ],
)
def test_a_wrong_value_is_refused_before_there_is_a_run(served: Served, more: dict[str, Any], says: str) -> None:
    before = len(served.runs())
    with pytest.raises(Refused, match=says):
        served.create({"model": {"name": "m"}, "data": {"train": "d"}} | more)
    assert len(served.runs()) == before


def test_killed_and_retried_and_cancelled_and_run_again_to_the_same_bits(
    served: Served, bert: Path, rows: Path, store: Path, tmp_path: Path
) -> None:
    given = parameters(bert, rows, store, STEPS, seed=1)
    run = served.create(given)
    in_training(store)
    served.engine().kill()
    assert served.end(run) == "Crashed"
    crashed = in_training(store).name
    until(lambda: served.free_places() == 1, served.log)
    time.sleep(6)  # the worker looks once more after its process is gone, and would take a retry back
    prefect(served, "flow-run", "retry", run)  # what the button does
    until(lambda: f"resumes from {crashed}" in served.log() and in_training(store).name != crashed, served.log)
    cancel(served, run)
    assert until(lambda: served.state(run)[0] == "Cancelled", served.log)
    assert served.call(f"/flow_runs/{run}")["run_count"] == 2
    assert served.states(run)[-2:] == ["Cancelling", "Cancelled"], "and nothing in between"
    assert served.ended_task(run, "s09_train") == "Cancelled"
    left = in_training(store).name
    assert f"stopped by signal 15 after step {left.rpartition('-')[2]} of {STEPS}" in served.log()
    assert served.end(served.create(given)) == "Completed", served.log()
    assert f"resumes from {left}" in served.log()
    assert weights(store) == undisturbed(given, tmp_path / "undisturbed")


def test_a_run_that_comes_while_another_is_at_it_is_cancelled(
    served: Served, bert: Path, rows: Path, store: Path
) -> None:
    given = parameters(bert, rows, store, 100_000, seed=3)
    first = served.create(given)
    in_training(store)
    over = [served.create(given) for _ in range(3)]
    assert [served.end(each) for each in over] == ["Cancelled"] * 3
    assert "concurrency limit" in served.state(over[0])[1]
    assert served.state(first)[0] == "Running"
    cancel(served, first)
    assert until(lambda: served.state(first)[0] == "Cancelled", served.log)


def test_a_sweep_is_cancelled_and_run_again_to_its_leaderboard(
    served: Served, bert: Path, rows: Path, store: Path
) -> None:
    sweep = {"grid": {"train.learning_rate": [1e-3, 1e-2]}, "parallel": 2}
    given = parameters(bert, rows, store, STEPS // 2, seed=7) | {"sweep": sweep}
    first = served.create(given, "grid")
    in_training(store)
    engine = served.engine()
    family = [engine, *engine.children(recursive=True)]
    assert [each for each in family if "tasks.runtime.parallel.zygote" in each.cmdline()]
    assert served.state(first)[0] == "Running", served.state(first)
    cancel(served, first)
    assert until(lambda: served.state(first)[0] == "Cancelled", served.log)
    assert not psutil.wait_procs(family, HANG)[1]
    assert "Crashed" not in served.states(first)
    assert [each["state_name"] for each in served.cells(first)] == ["Cancelled"] * 2
    left = in_training(store).name
    until(lambda: served.free_places("grid") == 1, served.log)

    second = served.create(given, "grid")
    assert served.end(second) == "Completed", served.log()
    cells = served.cells(second)
    assert [each["state_name"] for each in cells] == ["Completed"] * 3  # two, and the best as a whole
    assert f"resumes from {left} of {STEPS // 2} steps" in served.lines(*(each["id"] for each in cells))
    board = served.artifact(second, "leaderboard")["data"]
    assert [row["rank"] for row in json.loads(board)] == [1, 2]
    assert "# Sweep" in served.artifact(second, "grid")["data"]


def fired(served: Served) -> list[str]:
    """Runs that a schedule began and that were completed, the newest first."""
    return [run["id"] for run in served.runs() if run["auto_scheduled"] and run["state_name"] == "Completed"]


@contextmanager
def scheduled(served: Served, given: dict[str, Any]) -> Iterator[None]:
    """Within, a schedule starts a run every few seconds; at the end none of them is left."""
    deployment = served.ids["finetune"]
    schedule = {"schedule": {"interval": 8}, "active": True, "parameters": given}
    made = served.call(f"/deployments/{deployment}/schedules", [schedule])[0]
    try:
        yield
    finally:
        served.call(f"/deployments/{deployment}/schedules/{made['id']}", method="DELETE")
    until(lambda: served.free_places() == 1, served.log)


def noisy(data: Path, place: Path) -> Path:
    """The rows of `data`, and twice as many of the same words whose topics are drawn."""
    draw, lines = random.Random(0), data.read_text().splitlines()
    texts, topics = zip(*(line.split(",")[:2] for line in lines[1:]), strict=True)
    more = [f"{text} {word},{draw.choice(topics)},new" for text in texts for word in WORDS[:2]]
    place.write_text("\n".join([*lines, *more]) + "\n")
    return place


def test_a_schedule_finds_all_done_and_with_new_data_only_what_changed(
    served: Served, bert: Path, rows: Path, store: Path, tmp_path: Path
) -> None:
    """What is trained on the new rows is worse, and must not replace the model there is."""
    data, out = tmp_path / "rows.csv", tmp_path / "out"
    shutil.copy(rows, data)
    given = parameters(bert, data, store, 60, seed=4, output_dir=str(out), export={"promote": "if_better"})
    given["train"]["learning_rate"] = 1e-2  # of the rows there are, five in six are right then; of all, two in five

    def rebuilt() -> str | None:
        new = (run for run in fired(served) if run not in known)
        return next((run for run in new if served.tasks(run)["s04_prepare"] == "Completed"), None)

    with scheduled(served, given):
        until(lambda: len(fired(served)) >= 2, served.log)
        newest, *_, oldest = known = fired(served)
        assert served.tasks(oldest) == dict.fromkeys(STAGES, "Completed")
        assert served.tasks(newest) == dict.fromkeys(STAGES, "Cached")
        model = [(out / name).read_bytes() for name in ("model.safetensors", "metrics.json")]
        noisy(data, tmp_path / "new.csv").replace(data)
        run = until(rebuilt, served.log)
    ended = {run["state_name"] for run in served.runs() if run["auto_scheduled"] and run["start_time"]}
    assert ended <= {"Completed", "Cancelled", "Running"}
    kept = {"s01_arguments", "s02_seed", "s03_base", "s06_model", "s07_adapter"}
    assert served.tasks(run) == {stage: "Cached" if stage in kept else "Completed" for stage in STAGES}
    until(lambda: any("kept the current model: test_accuracy" in line for line in served.lines(run)), served.log)
    assert "kept the current model: test_accuracy" in served.artifact(run, "report")["data"]
    assert [(out / name).read_bytes() for name in ("model.safetensors", "metrics.json")] == model


def test_worker_and_run_killed_is_a_crash_that_frees_its_place(
    served: Served, bert: Path, rows: Path, store: Path
) -> None:
    given = parameters(bert, rows, store, STEPS, seed=5)
    run = served.create(given)
    in_training(store)
    engine = served.engine()
    assert served.process is not None
    served.process.kill()
    engine.kill()
    served.process.wait()
    assert served.state(run)[0] == "Running"
    until(lambda: served.state(run)[0] == "Crashed", served.log)
    assert "no heartbeat" in served.state(run)[1]
    until(lambda: served.free_places() == 1, served.log)
    served.serve()  # the same command again: nothing is there twice
    assert len(served.call("/automations/filter", {})) == 1
    left = in_training(store).name
    assert served.end(served.create(given)) == "Completed", served.log()
    assert f"resumes from {left}" in served.log()


def test_the_worker_killed_alone_leaves_no_run_behind_and_the_next_goes_on(
    served: Served, bert: Path, rows: Path, store: Path
) -> None:
    given = parameters(bert, rows, store, STEPS * 10, seed=8)
    run = served.create(given)
    in_training(store)
    engine = served.engine()
    assert served.process is not None
    [worker] = [each for each in psutil.Process(served.process.pid).children() if "worker" in each.cmdline()]
    worker.kill()
    assert served.process.wait(HANG) != 0, "the command ends with its worker, and says so"
    assert served.end(run) == "Crashed"
    until(lambda: served.free_places() == 1, served.log)
    until(lambda: not psutil.pid_exists(engine.pid), served.log)
    left = in_training(store).name
    served.serve()
    following = served.create(given)
    until(lambda: f"resumes from {left}" in served.log(), served.log)
    cancel(served, following)
    assert until(lambda: served.state(following)[0] == "Cancelled", served.log)


def test_ctrl_c_ends_worker_and_runs_and_loses_nothing(served: Served, bert: Path, rows: Path, store: Path) -> None:
    given = parameters(bert, rows, store, STEPS * 5, seed=6)
    run = served.create(given)
    in_training(store)
    engine = served.engine()
    assert served.process is not None
    workers = psutil.Process(served.process.pid).children(recursive=True)
    served.stop()
    until(lambda: not psutil.pid_exists(engine.pid), served.log)
    with contextlib.suppress(psutil.NoSuchProcess):
        assert not [each for each in workers if each.is_running() and "api_server" not in " ".join(each.cmdline())]
    assert served.state(run)[0] == "Crashed"
    left = in_training(store).name
    served.serve()
    prefect(served, "flow-run", "retry", run)
    until(lambda: f"resumes from {left}" in served.log(), served.log)
    cancel(served, run)
    assert until(lambda: served.state(run)[0] == "Cancelled", served.log)
