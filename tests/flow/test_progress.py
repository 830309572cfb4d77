"""What a training and an evaluation say of themselves while they run."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.store import Store
from tasks.config import ConfigError, load
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.token_rows import scored_rows
from tasks.runtime.pace import Pace
from tasks.runtime.progress import Progress, RowProgress
from tasks.training.callbacks.watch_evaluation import WatchEvaluation
from tests.flow.scenes import executed
from tests.tiny import make_config


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pace_follows_the_newest_marks_and_leaves_pauses_out() -> None:
    pace = Pace("step")
    assert pace.rate is None and pace.line(10) == ""
    for second in range(5):
        pace.mark(second, second * 2)
    assert pace.line(108) == "2 steps/s, 50.0 s left"
    pace.pause(100.0)  # an evaluation of a hundred seconds
    pace.mark(105.0, 10)
    assert pace.rate == pytest.approx(2.0)
    slow = Pace("step")
    slow.mark(0.0, 0)
    slow.mark(4.0, 1)
    assert slow.line(31) == "4 s/step, 2 min 0 s left"


def test_a_long_evaluation_says_rate_and_time_left_and_a_short_one_nothing() -> None:
    said: list[str] = []
    clock = Clock()
    with RowProgress("evaluation of test", said.append, clock) as progress:
        for done in (10, 20, 30, 40):
            clock.now += 4.0
            progress.rows(done, 100)
    assert said == ["evaluation of test: 30 of 100 rows, 2.5 rows/s, 28.0 s left"]
    with RowProgress("evaluation of test", said.append, clock) as progress:
        progress.rows(100, 100)
    assert len(said) == 1


def test_a_training_says_speed_epoch_and_time_left_and_at_its_end_where_the_time_went() -> None:
    said: list[str] = []
    clock = Clock()
    with Progress(100, said.append, clock) as progress:
        progress.step(0, 100)
        for step in range(1, 11):
            clock.now += 0.5
            progress.step(step, 100)
        progress.log(10, {"loss": 0.7, "learning_rate": 1e-4, "epoch": 0.5})
        clock.now += 30.0
        progress.rows(5, 10)
        progress.log(10, {"eval_loss": 0.6, "eval_runtime": 30.0, "epoch": 0.5})
        clock.now += 0.5
        progress.step(11, 100)
        progress.log(11, {"loss": 0.6, "epoch": 0.55})
        progress.log(12, {"loss": 0.5, "epoch": 0.6})  # too soon for another line
        progress.log(100, {"train_runtime": 80.0, "train_loss": 0.55, "epoch": 5.0})
    assert said == [
        "step 10/100, epoch 0.50: loss 0.7, learning_rate 0.0001; 2 steps/s, 45.0 s left (shown every 10 s at most)",
        "step 10/100: eval_loss 0.6 (in 30.0 s)",
        "step 11/100, epoch 0.55: loss 0.6; 2 steps/s, 44.5 s left",
        "step 100/100: mean loss 0.55; training took 50.0 s, evaluation 30.0 s",
    ]


def test_only_some_rows_are_scored_the_same_every_time_and_whole() -> None:
    windows = pa.table({"__origin": [0, 0, 1, 2, 2, 2, 3, 4], "n": list(range(8))})
    said: list[str] = []
    some = scored_rows(windows, 3, said.append)
    origins = some["__origin"].to_pylist()
    assert len(set(origins)) == 3 and origins == [each for each in windows["__origin"].to_pylist() if each in origins]
    assert some.equals(scored_rows(windows, 3)) and said == ["3 of 5 rows are scored (eval.max_samples)"]
    assert scored_rows(windows, 5) is windows and scored_rows(windows, None) is windows


def test_a_run_scores_no_more_rows_than_are_asked_for(
    bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="finetune")
    done = executed(make_config(bert, rows, tmp_path / "store", eval={"max_samples": 5}, train__max_steps=2))
    evaluated = Artifact(done.artifacts["s10_evaluate"], Store(str(tmp_path / "store")))
    counts = {
        split: open_table(evaluated.path(f"{split}.predictions.arrow")).num_rows for split in ("validation", "test")
    }
    assert counts == {"validation": 5, "test": 5}
    assert "5 of 19 rows are scored" in caplog.text and "training took" in caplog.text
    with pytest.raises(ConfigError, match=r"train.max_eval_samples.*eval.max_samples"):
        load(make_config(bert, rows, tmp_path, train__max_eval_samples=5))


def test_an_evaluation_within_a_training_tells_of_its_rows() -> None:
    told: list[tuple[int, int]] = []
    watch, loader = WatchEvaluation(lambda done, of: told.append((done, of))), SimpleNamespace(dataset=range(10))
    for _ in range(2 * 3):
        watch.on_prediction_step(SimpleNamespace(eval_batch_size=4), None, None, eval_dataloader=loader)
    assert told == [(4, 10), (8, 10), (10, 10)] * 2
