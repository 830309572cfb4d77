"""Trackers: what they get, that none can end a training, and what is refused before one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from tasks.config import ConfigError, computing, load
from tasks.objectives.presets import resolve
from tasks.objectives.reporting import TRACKERS
from tasks.training.trackers import TrackedRun, Tracker, trackers
from tests.flow.scenes import executed
from tests.tiny import make_config

KIND = "clearml"  # stands for any


class Recorder(TrainerCallback):
    """A tracker that keeps what it gets, and raises at `fails`."""

    heard: list[tuple[str, Any]]
    fails: str | None = None
    error = "no route to host"

    def _hear(self, event: str, what: Any = None) -> None:
        self.heard.append((event, what))
        if event == self.fails:
            raise RuntimeError(self.error)

    def __init__(self) -> None:
        self._hear("init")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._hear("begin", getattr(args, "run_name", None))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        print("noise")
        self._hear("test" if "test_accuracy" in logs else "log", (state.global_step, logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._hear("end")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """The tracker `KIND`, installed."""
    kind = type("Fresh", (Recorder,), {"heard": []})
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, KIND, kind)
    monkeypatch.setitem(TRACKERS, KIND, (("json",), KIND))  # type: ignore[arg-type]
    return kind


def tracker(kind: str, logs: Path, warn: Callable[[str], None]) -> Tracker:
    return Tracker(kind, TrackedRun("0" * 16, "topics-00000000", {"task": "regression"}, logs), warn)


@pytest.mark.parametrize("fails", ["init", "begin", "log", "end", "test"])
def test_a_tracker_that_fails_is_dropped_with_one_warning(
    fails: str, recorder: type[Recorder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.fails = fails
    warnings: list[str] = []
    tracked = tracker(KIND, tmp_path, warnings.append)
    at = (SimpleNamespace(), TrainerState(), TrainerControl())
    tracked.on_init_end(*at)
    tracked.on_train_begin(*at)
    for _ in range(2):
        tracked.on_log(*at, logs={"loss": 1.0})
    tracked.on_train_end(*at)
    tracked.finish({"test_accuracy": 0.5})
    (warning,) = warnings
    assert warning.startswith(
        f"train.report_to: {KIND} failed and gets nothing more of this run: RuntimeError: no route"
    )
    assert recorder.heard[-1][0] == fails
    assert capsys.readouterr().out == ""  # stdout is for results


def test_a_run_reports_and_its_key_does_not_depend_on_it(
    bert: Path, rows: Path, tmp_path: Path, recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = make_config(bert, rows, tmp_path / "store", name="topics", train__max_steps=4)
    done = executed(config, f"train.report_to={KIND}")
    key = next(entry.key for entry in done.stages if entry.stage == "s09_train")
    events = [event for event, _ in recorder.heard]
    assert events[:2] == ["init", "begin"] and events[-2:] == ["end", "test"] and "log" in events
    assert recorder.heard[1] == ("begin", f"topics-{key[:8]}")
    step, metrics = recorder.heard[-1][1]
    assert step == 4 and metrics["test_accuracy"] == done.metrics["test_accuracy"] and "eval_accuracy" not in metrics
    recorder.heard.clear()
    again = executed(config, f"train.report_to=[{KIND}]")
    assert {entry.state for entry in again.stages} == {"cached"} and not recorder.heard
    assert "train.report_to: nothing was trained, as the result is cached; so nothing is reported" in caplog.text
    executed(config)
    assert caplog.text.count("nothing was trained") == 1


def test_no_secret_of_a_tracker_is_recorded(
    bert: Path, rows: Path, tmp_path: Path, recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary-of-wandb")
    recorder.fails = "log"
    recorder.error = "401 for canary-of-wandb at https://me:canary@host"
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=1, train__report_to=KIND)
    done = executed(config)
    (warning,) = [line for line in done.warnings if line.startswith("train.report_to")]
    assert "RuntimeError: 401 for (a secret)" in warning
    (record,) = (tmp_path / "store" / "runs").glob("*.json")
    assert "canary" not in record.read_text()


@pytest.mark.parametrize(
    ("report_to", "message"),
    [
        ("tensorbord", "train.report_to: 'tensorbord' is no tracker; valid are .*; did you mean tensorboard"),
        (["none", "swanlab"], "train.report_to: 'none' is no tracker"),
        ("swanlab", "train.report_to: swanlab needs its package; pip install swanlab"),
        (["comet_ml"], "train.report_to: comet_ml needs its package; pip install comet-ml"),
    ],
)
def test_unknown_and_missing_trackers_are_refused_with_the_config(
    report_to: Any, message: str, bert: Path, rows: Path
) -> None:
    config = load(make_config(bert, rows, "memory", train__report_to=report_to)).config
    with pytest.raises(ConfigError, match=message):
        resolve(config, {})


def test_no_tracker_is_on_unless_asked_for(bert: Path, rows: Path, tmp_path: Path) -> None:
    run = TrackedRun("0", "r", {}, tmp_path)
    assert [trackers(given, run, print) for given in (None, "none", ["none"], [])] == [[], [], [], []]
    plain, tracked = (load(make_config(bert, rows, "memory", **more)).config.train for more in (
        {}, {"train__report_to": "trackio", "train__run_name": "r", "train__trackio_bucket_id": "a/b"}))  # fmt: skip
    assert computing(plain) == computing(tracked)
    assert TRACKERS.keys() == INTEGRATION_TO_CALLBACK.keys()


def test_tensorboard_hides_what_is_logged_again_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRC32C_SW_MODE", "auto")  # its import sets it
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-not-found]

    warnings: list[str] = []
    tracked = tracker("tensorboard", tmp_path, warnings.append)
    at = (SimpleNamespace(to_json_string=lambda: "{}"), TrainerState(), TrainerControl())
    at[1].global_step = 3
    tracked.on_train_begin(*at)
    at[1].global_step = 4
    tracked.on_log(*at, logs={"loss": 0.5})
    tracked.on_train_end(*at)
    tracked.finish({"test_accuracy": 0.25})
    assert not warnings
    events = [Event.FromString(record) for path in sorted((tmp_path / "topics-00000000").iterdir())
              for record in records(path.read_bytes())]  # fmt: skip
    assert [event.step for event in events if event.HasField("session_log")] == [4]
    scalars = {value.tag: (event.step, value.simple_value) for event in events for value in event.summary.value}
    assert scalars["train/loss"] == (4, 0.5) and scalars["test/accuracy"] == (4, 0.25)
    assert "config/text_summary" in scalars


def records(data: bytes) -> list[bytes]:
    """The records of a TFRecord file: a length of 8 bytes, a checksum, the record, a checksum."""
    found = []
    while data:
        end = 12 + int.from_bytes(data[:8], "little")
        found.append(data[12:end])
        data = data[end + 4 :]
    return found
