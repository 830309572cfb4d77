"""What a stage warns of is part of its artifact; values that cannot be had and rows that training has seen are said."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.results.report import gather
from tasks.results.report_html import html
from tests.flow.scenes import executed
from tests.tiny import make_config, make_rows, make_task


def test_warnings_of_cached_stages_are_said_and_written(bert: Path, rows: Path, tmp_path: Path, caplog: Any) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=1, data__max_length=8)
    first = executed(config)
    said = "rows cut to 8 tokens (data.max_length, data.overlong)"
    assert any(said in line for line in first.warnings)
    caplog.clear()
    again = executed(config, f"output_dir={json.dumps(str(tmp_path / 'model'))}")
    assert {entry.state for entry in again.stages} == {"cached"}
    assert said in caplog.text
    assert again.warnings == first.warnings
    assert said in (tmp_path / "model" / "README.md").read_text()
    assert said in again.report
    record = json.loads(next(iter((tmp_path / "store" / "runs").glob(f"{again.run}*"))).read_text())
    assert said in html(gather(again._context.store, record))


def test_metrics_are_given_without_the_rows_that_train_has_too(bert: Path, rows: Path, tmp_path: Path) -> None:
    fresh = make_rows(tmp_path / "fresh.csv", 12, seed=7).read_text().splitlines()
    known = rows.read_text().splitlines()[1:9]
    (tmp_path / "test.csv").write_text("\n".join([*fresh, *known]) + "\n")
    (tmp_path / "all.csv").write_text("\n".join([fresh[0], *known]) + "\n")
    test, validation = str(tmp_path / "test.csv"), str(tmp_path / "all.csv")
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=1)
    config["data"] |= {"test": test, "validation": validation}
    done = executed(config)
    with (tmp_path / "test.csv").open() as file:
        gold = [row["label"] for row in csv.DictReader(file)]
    predicted = done._open("s10_evaluate").path("test.predictions.arrow")
    from tasks.data.tables.arrow_file import open_table

    right = [label == found for label, found in zip(gold, open_table(predicted)["prediction"].to_pylist(), strict=True)]
    assert done.metrics["test_accuracy"] == pytest.approx(sum(right) / 20)
    assert done.metrics["test_accuracy_unseen"] == pytest.approx(sum(right[:12]) / 12)
    assert "test_accuracy_unseen" in done.intervals
    assert not [name for name in done.metrics if name.startswith("eval_") and name.endswith("_unseen")], "all are seen"
    assert any("data.test: 8 rows" in line and "_unseen" in line for line in done.warnings)


def test_lengths_that_cannot_be_had_are_said_and_saved_as_used(
    bert: Path, rows: Path, tmp_path: Path, caplog: Any
) -> None:
    asked = {"data__max_length": 200, "data__overlong": "window", "data__stride": 100}
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=1, **asked)
    done = executed(config, f"output_dir={json.dumps(str(tmp_path / 'model'))}")
    for said in ("data.max_length: 200 → 64 tokens", "data.stride: 100 → 21 tokens"):
        assert said in caplog.text and said in done.report
        assert [line for line in done.warnings if line.startswith(said)]
    assert "| max_length | 64 tokens |" in (tmp_path / "model" / "README.md").read_text()
    saved = yaml.safe_load((tmp_path / "model" / "config.resolved.yaml").read_text())
    assert (saved["data"]["max_length"], saved["data"]["stride"]) == (64, 21)
    assert done.arguments["max_length"] == 64
    assert {entry.state for entry in executed(saved).stages} == {"cached"}, "the saved file is the same run"


def test_targets_that_are_cut_are_said_by_their_own_setting(tmp_path: Path, caplog: Any) -> None:
    config = make_task("sequence-sequence", tmp_path, rows=30)
    config["data"]["max_target_length"] = 2
    config["train"] |= {"max_steps": 1}
    done = executed(config)
    assert any(
        "targets of" in line and "truncated to 2 tokens (data.max_target_length)" in line for line in done.warnings
    )


def test_evaluation_covers_all_rows_where_training_drops_the_last(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, train__max_steps=1, train__dataloader_drop_last=True)
    done = executed(config, "train.per_device_eval_batch_size=7")
    assert [entry for entry in done.history if "eval_loss" in entry]


def nan(predictions: Any, references: Any) -> float:
    return float("nan")


def test_a_metric_that_is_not_a_number_does_not_keep_the_model_from_being_saved(
    bert: Path, rows: Path, tmp_path: Path, capsys: Any
) -> None:
    from flows.terminal.run import show_run

    config = make_config(bert, rows, tmp_path / "store", train__max_steps=1, eval__metrics=[f"{__name__}:nan"])
    done = executed(config, f"output_dir={json.dumps(str(tmp_path / 'model'))}")
    assert done.metrics["eval_nan"] is None
    assert "not a number" in (tmp_path / "model" / "README.md").read_text()
    show_run(done)
    assert "not a number" in capsys.readouterr().out
