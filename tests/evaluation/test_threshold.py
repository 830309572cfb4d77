"""The threshold of several labels: the best on what it is given, and what is asked with afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.api import plan
from flows.cli import main
from tasks.artifacts.formats import json
from tasks.config import ConfigError, RunConfig, load
from tasks.data.tables.arrow_file import open_table
from tasks.evaluation.per_class import by_class, score_cells
from tasks.evaluation.score import point
from tasks.evaluation.scorers.classes import scorer
from tasks.evaluation.threshold import chosen, decided, tune
from tasks.execution.execute import execute
from tests.tiny import make_config, make_task

LABELS = ["amber", "beech", "cedar"]
HEAD: dict[str, Any] = {"labels": LABELS, "problem_type": "multi_label_classification"}


def predictions(rows: int, seed: int, low: float) -> pa.Table:
    random = np.random.default_rng(seed)
    gold = random.random((rows, 3)) < 0.3
    scores = np.clip(low * gold + random.normal(0.2, 0.15, gold.shape), 0.001, 0.999).astype(np.float32)
    names = pa.array(LABELS)
    return pa.table({"label": chosen(gold, names), "prediction": chosen(scores >= 0.5, names),
                     "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), 3)})  # fmt: skip


def written(path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def micro_f1(gold: np.ndarray, said: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN), over all labels alike."""
    right, all_told = 2 * np.sum(gold & said), np.sum(gold) + np.sum(said)
    return float(right / all_told) if all_told else 0.0


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 200), seed=st.integers(0, 10**6), low=st.floats(0, 0.8))
def test_no_threshold_is_better(rows: int, seed: int, low: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    table = predictions(rows, seed, low)
    file = written(tmp_path_factory.mktemp("threshold") / "rows.arrow", table)
    found = tune(decided(HEAD, "tuned"), file, "tuned", lambda line: None)
    again = open_table(file)
    scores = np.array(table["probabilities"].to_pylist())
    gold = np.array([[name in held for name in LABELS] for held in table["label"].to_pylist()])
    each = [micro_f1(gold, scores >= np.float32(at / 1000)) for at in range(1, 1000)]
    assert point(scorer(HEAD), again)["f1_micro"] == pytest.approx(max(each), abs=1e-9)
    assert 0 < found["threshold"] < 1


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 200), seed=st.integers(0, 10**6), low=st.floats(0, 0.8))
def test_no_threshold_of_a_label_is_better(
    rows: int, seed: int, low: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table, said = predictions(rows, seed, low), []
    file = written(tmp_path_factory.mktemp("threshold") / "rows.arrow", table)
    found = tune(decided(HEAD, "tuned_per_class"), file, "tuned_per_class", said.append)
    scores = np.array(table["probabilities"].to_pylist())
    gold = np.array([[name in held for name in LABELS] for held in table["label"].to_pylist()])
    measured = point(scorer(found), open_table(file))
    best = [max(micro_f1(gold[:, at], scores[:, at] >= np.float32(step / 1000)) for step in range(1, 1000))
            for at in range(3)]  # fmt: skip
    assert measured["f1_macro"] == pytest.approx(np.mean(best), abs=1e-9)
    half = point(scorer(HEAD), table)
    names = [name for name in half if name.startswith("f1_")]
    assert len(names) == 4 and all(measured[f"{name}_untuned"] == pytest.approx(half[name]) for name in names)
    scores_of = by_class(scorer(found), open_table(file))
    assert [each["threshold"] for each in scores_of["scores"].values()] == found["threshold"]
    assert next(score_cells(scores_of)) == ("class", "rows", "precision", "recall", "f1", "threshold")
    assert all(not held or found["threshold"][at] != 0.5 or best[at] == micro_f1(gold[:, at], scores[:, at] >= 0.5)
               for at, held in enumerate(gold.sum(0)))  # fmt: skip


def test_ties_are_decided_and_labels_without_rows_are_said(tmp_path: Path) -> None:
    """Any threshold in (0.2, 0.7] separates amber, any in (0.6, 0.9] beech, and cedar is in no row."""
    chances = np.array([[0.7, 0.9, 0.1], [0.2, 0.6, 0.9], [0.7, 0.6, 0.4]], dtype=np.float32)
    gold, names, said = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool), pa.array(LABELS), []
    table = pa.table({"label": chosen(gold, names), "prediction": chosen(chances >= 0.5, names),
                      "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(chances.ravel()), 3)})  # fmt: skip
    file = written(tmp_path / "rows.arrow", table)
    found = tune(decided(HEAD, "tuned_per_class"), file, "tuned_per_class", said.append)
    assert found["threshold"] == [0.5, 0.601, 0.5]
    assert said[1:] == ["eval.threshold: no validation row has cedar: the threshold there is 0.5"]
    assert open_table(file)["prediction"].to_pylist() == [["amber", "beech"], ["cedar"], ["amber"]]


@pytest.mark.parametrize("how", ["tuned", "tuned_per_class"])
def test_kept_with_the_model(how: str, tmp_path: Path) -> None:
    from flows.pipeline import pipeline

    config = make_task("multi-label", tmp_path) | {"output_dir": str(tmp_path / "model")}
    rows = config["data"]["train"]
    run = RunConfig.model_validate({**config, "eval": {"threshold": how, "bootstrap": 0, "metrics": ["f1_micro"]}})
    metrics = execute(run, pipeline).metrics
    threshold = json.read(tmp_path / "model" / "inference.json")["head"]["threshold"]
    assert metrics["eval_f1_micro"] > 0 and np.any(np.asarray(threshold) != 0.5)
    assert {"eval_f1_micro_untuned", "test_f1_micro_untuned"} <= metrics.keys()
    assert "eval_f1_macro_untuned" not in metrics
    said = tmp_path / "said.parquet"
    assert main(["predict", str(tmp_path / "model"), str(rows), "-o", str(said)]) == 0
    for row in pq.read_table(said).to_pylist():
        chances = {name.removeprefix("probability_"): each for name, each in row.items() if "probability_" in name}
        limits = zip(chances, np.broadcast_to(np.asarray(threshold, dtype=np.float32), len(chances)), strict=True)
        held = [name for name, limit in limits if np.float32(chances[name]) >= limit]
        assert row["prediction"] == held and row["score"] == [chances[name] for name in held]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "regression"}, "eval.threshold: only text-classification"),
        ({"data": {"split": {"validation": 0.0}}}, "eval.threshold: 'tuned' needs validation rows"),
        ({"eval": {"splits": ["test"]}}, "eval.splits: lacks validation, on which eval.threshold: tuned"),
        ({"eval": {"threshold": "tuned_per_clas"}}, "'tuned_per_clas' given; .*did you mean tuned_per_class"),
    ],
)
def test_no_say(more: dict[str, Any], said: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    from tasks.objectives.presets import resolve

    config = make_config(bert, rows, tmp_path / "store")
    config |= {"task": more.get("task", "text-classification"), "eval": {"threshold": "tuned"} | more.get("eval", {})}
    config["data"] = {**config["data"], **more.get("data", {})}
    with pytest.raises(ConfigError, match=said):
        resolve(load(config).config, {})


@pytest.mark.parametrize("alias", ["multi-label-classification", "text-classification"])
def test_aliases_of_the_task_have_one(alias: str) -> None:
    from tasks.objectives.presets import resolve

    config = {"model": "m", "data": {"train": "rows.csv"}, "task": alias, "eval": {"threshold": 0.3}}
    assert resolve(load(config).config, {})[0].eval.threshold == 0.3


def test_rows_with_one_label_have_none(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", eval__threshold="tuned")
    with pytest.raises(ConfigError, match=r"eval\.threshold: tuned given; only labels of which a row may have several"):
        plan(load(config))
