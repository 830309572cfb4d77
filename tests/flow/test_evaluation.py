"""What is said of predictions in a run: a user's own metrics, slices, intervals; none of it can lose a model."""

import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.config import RunConfig
from tasks.config.errors import ConfigError, DataError
from tasks.execution.execute import execute
from tasks.results.finetuned import FineTuned
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
    from flows.pipeline import pipeline

    config = make_config(bert, rows, store, train__max_steps=4, **more)
    return execute(RunConfig.model_validate(config), pipeline)


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
    assert f"{mine}:broken failed and is skipped: ZeroDivisionError: no rows like that" in caplog.text


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


@pytest.mark.parametrize("split", [{"validation": 0.2}, {"validation": 0.0}])
def test_slices_of_the_splits_there_are(split: dict[str, float], bert: Path, rows: Path, tmp_path: Path) -> None:
    done = run(bert, rows, tmp_path / "store", eval={"slices": ["source"]}, data__split=split)
    assert set(done.slices) == ({"eval_source"} if split["validation"] else set())


def test_a_text_pair_column_is_a_pair_only_where_a_role_knows_it(bert: Path, tmp_path: Path) -> None:
    lines = [f"balen {at},metal river,{'ab'[at % 2]}" for at in range(12)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(["review,text_pair,label", *lines]))
    split = {"validation": 0.0}
    pair = run(bert, path, tmp_path / "store", data__split=split)
    assert "token_type_ids" in pair.rows("train").column_names
    assert pair.rows("train", "s04_prepare").column_names[:3] == ["text", "text_pair", "label"]
    one = run(bert, path, tmp_path / "store", data__split=split, data__columns={"text": "review"})
    assert "token_type_ids" not in one.rows("train").column_names
    assert "text_pair_column" in one.rows("train", "s04_prepare").column_names
    path.write_text("\n".join(["review,text_pair,label", "balen,,a", *lines]))
    with pytest.raises(DataError, match=r"empty text in column 'text_pair' \(data.columns.text_pair\): pairs.csv:2"):
        run(bert, path, tmp_path / "store", data__split=split)


def test_an_encoder_that_learns_to_go_on_sees_nothing_ahead(bert: Path, rows: Path, tmp_path: Path) -> None:
    import torch

    done = run(bert, rows, tmp_path / "store", task="language-generation", data__max_length=16)
    ids = torch.arange(8, 20)[None]
    other = ids.clone()
    other[0, -1] = 30
    with torch.no_grad():
        one, two = done.model(input_ids=ids).logits[0], done.model(input_ids=other).logits[0]
    assert torch.equal(one[:-1], two[:-1]) and not torch.equal(one[-1], two[-1])
    assert done.model.config.is_decoder


@pytest.mark.parametrize(("upward", "names"), [(None, "rises"), (False, "rises"), (None, "broken")])
def test_the_best_by_a_metric_of_ones_own(
    upward: bool | None, names: str, mine: str, bert: Path, rows: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = tmp_path / f"{mine}.py"
    path.write_text(MINE + "\n\ncalls = []\n\n\ndef rises(table):\n    calls.append(1)\n    return len(calls)\n")
    best = {"best": f"{mine}:{names}", "greater_is_better": upward}
    with caplog.at_level(logging.WARNING, "finetune"):
        done = run(bert, rows, tmp_path / "store", eval=best, train__eval_strategy="steps", train__eval_steps=1)
    assert done.state.best_global_step == (None if names == "broken" else 1 if upward is False else 4)
    assert names != "broken" or "broken failed and is skipped" in caplog.text
    found = [entry[f"eval_{names}"] for entry in done.history if f"eval_{names}" in entry]
    assert names == "broken" or found == [1, 2, 3, 4]


def test_going_on_with_other_classes(bert: Path, rows: Path, tmp_path: Path) -> None:
    first = run(bert, rows, tmp_path / "store", output_dir=str(tmp_path / "first"))
    assert first.labels == ["fruit", "metal", "river"]
    other = tmp_path / "other.csv"
    other.write_text(rows.read_text().replace("metal", "iron").replace(",river,", ",iron,"))
    second = run(tmp_path / "first", other, tmp_path / "store")
    assert second.labels == ["fruit", "iron"] and second.model.config.num_labels == 2


@pytest.mark.parametrize(
    ("rows", "eval", "says"),
    [
        (
            "single",
            {"best": "f1_micro"},
            "eval.best: f1_micro is undefined for rows with one label each",
        ),
        ("single", {"metrics": ["accuracy", "mse"]}, "valid are accuracy, f1_macro, .*matthews, roc_auc, loss$"),
        ("multi-label", {"best": "recall_macro"}, r"for rows with several labels.*did you mean 'recall_micro'\?"),
        ("regression", {"best": "accuracy"}, "for rows with a number, as these are; valid are pearson"),
        (
            "single",
            {"metrics": ["acuracy"]},
            "one label each: accuracy.*; for rows with several labels: f1_micro",
        ),
    ],
)
def test_a_metric_that_the_rows_do_not_have(rows: str, eval: Any, says: str, bert: Path, tmp_path: Path) -> None:
    from flows.api import plan
    from tasks.config import load
    from tests.tiny import make_task_rows

    data = make_task_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(ConfigError, match=says):
        label = {"regression": "score", "multi-label": "labels", "single": "label"}[rows]
        more = {"eval": eval, "data__columns": {"label": label}}
        plan(load(make_config(bert, data, tmp_path / "store", **more)))


def test_every_problem_has_the_metrics_it_is_said_to_have() -> None:
    from tasks.evaluation.score import point
    from tasks.evaluation.scorers.classes import scorer
    from tasks.objectives import objective_of

    names, chances = ["a", "b", "a"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    several = {"label": [["a"], ["b"], ["a", "b"]], "prediction": [["a"], ["b"], ["a"]], "probabilities": chances}
    tables = {
        "single_label_classification": {"label": names, "prediction": names, "probabilities": chances},
        "multi_label_classification": several,
        "regression": {"label": [1.0, 2.0, 4.0], "prediction": [1.5, 2.0, 3.0]},
    }
    for problem, said in objective_of("text-classification").metrics_by_problem.items():
        found = point(scorer({"problem_type": problem, "labels": ["a", "b"]}), pa.table(tables[problem]))
        assert {*found, "loss"} == set(said), problem
