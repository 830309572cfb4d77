"""What is said of predictions in a run: a user's own metrics, slices, intervals; none of it can lose a model."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.config import RunConfig
from tasks.config.errors import ConfigError
from tasks.runtime.carry import carry_out
from tasks.runtime.finetuned import FineTuned
from tests.tiny import make_config

MINE = """
def share_of_fruit(predictions, references):
    return predictions.count("fruit") / len(predictions)


def both(table):
    return {"rows": table.num_rows, "files": len(set(table["__file"].to_pylist()))}


def broken(predictions, references):
    raise ZeroDivisionError("no rows like that")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"mine_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def run(bert: Path, rows: Path, store: Path, **more: Any) -> FineTuned:
    from flows.finetune import pipeline

    config = make_config(bert, rows, store, train__max_steps=4, **more)
    return carry_out(RunConfig.model_validate(config), pipeline)


def test_own_metrics_stand_beside_the_tasks(mine: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    metrics = [f"{mine}:share_of_fruit", f"{mine}:both"]
    done = run(bert, rows, tmp_path / "store", eval={"metrics": metrics})
    assert 0 <= done.metrics["test_share_of_fruit"] <= 1
    assert (done.metrics["test_rows"], done.metrics["test_files"]) == (19, 1)
    assert "test_accuracy" in done.metrics


def test_a_chosen_few(mine: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    done = run(bert, rows, tmp_path / "store", eval={"metrics": ["accuracy", f"{mine}:share_of_fruit"]})
    names = {"accuracy", "share_of_fruit"}
    assert set(done.metrics) == {f"{split}_{name}" for split in ("eval", "test") for name in names}


def test_a_function_by_itself(mine: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    function = __import__(mine).share_of_fruit
    config = RunConfig.model_validate(make_config(bert, rows, tmp_path, eval={"metrics": [function]}))
    assert config.eval.metrics == [f"{mine}:share_of_fruit"]


def test_an_edited_metric_is_asked_again_without_training(mine: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    chosen = {"metrics": [f"{mine}:share_of_fruit"]}
    run(bert, rows, tmp_path / "store", eval=chosen)
    path = tmp_path / f"{mine}.py"
    path.write_text(MINE.replace("/ len(predictions)", "/ len(predictions) + 1"))
    sys.modules.pop(mine)
    done = run(bert, rows, tmp_path / "store", eval=chosen)
    states = {entry.stage: entry.state for entry in done.stages}
    assert states["s09_train"] == "cached" and states["s10_evaluate"] == "built"
    assert done.metrics["test_share_of_fruit"] >= 1


def test_a_broken_metric_loses_nothing(
    mine: str, bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "finetune"):
        done = run(bert, rows, tmp_path / "store", eval={"metrics": [f"{mine}:broken"]})
    assert "test_accuracy" in done.metrics and "test_broken" not in done.metrics
    assert f"{mine}:broken failed and is left out: ZeroDivisionError: no rows like that" in caplog.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("{}:share_of_frut", "did you mean 'share_of_fruit'"),
        ("no_such_module_anywhere:metric", "No module named"),
        ("{}:MINE", "has no 'MINE'"),
    ],
)
def test_a_metric_that_is_not_there(path: str, says: str, mine: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        run(bert, rows, tmp_path / "store", eval={"metrics": [path.format(mine)]})


def test_slices_and_intervals(bert: Path, rows: Path, tmp_path: Path) -> None:
    done = run(bert, rows, tmp_path / "store", eval={"slices": ["source"]})
    found = done.slices["test_source"]
    assert set(found) <= {f"s{at}" for at in range(5)}
    assert sum(part["rows"] for part in found.values()) == 19
    whole = sum(part["rows"] * part["accuracy"] for part in found.values()) / 19
    assert whole == pytest.approx(done.metrics["test_accuracy"])
    low, high = done.intervals["test_accuracy"]
    assert low <= done.metrics["test_accuracy"] <= high
    with pytest.raises(ConfigError, match="there is no column 'sauce'; there are"):
        run(bert, rows, tmp_path / "store", eval={"slices": ["sauce"]})


def test_going_on_with_other_classes(bert: Path, rows: Path, tmp_path: Path) -> None:
    first = run(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "first"))
    assert first.labels == ["fruit", "metal", "river"]
    other = tmp_path / "other.csv"
    other.write_text(rows.read_text().replace("metal", "iron").replace(",river,", ",iron,"))
    second = run(tmp_path / "first", other, tmp_path / "store")
    assert second.labels == ["fruit", "iron"] and second.model.config.num_labels == 2
