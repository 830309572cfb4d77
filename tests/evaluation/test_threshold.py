"""The threshold of several labels: the best on what it is given, and what is asked with afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cli import main
from tasks.artifacts.formats import json
from tasks.config import ConfigError, RunConfig
from tasks.data.tables.arrow_file import open_table
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
    found = tune(decided(HEAD, "tuned"), file)
    again = open_table(file)
    scores = np.array(table["probabilities"].to_pylist())
    gold = np.array([[name in held for name in LABELS] for held in table["label"].to_pylist()])
    each = [micro_f1(gold, scores >= np.float32(at / 1000)) for at in range(1, 1000)]
    assert point(scorer(HEAD), again)["f1_micro"] == pytest.approx(max(each), abs=1e-9)
    assert 0 < found["threshold"] < 1


def test_kept_with_the_model(tmp_path: Path) -> None:
    from flows.pipeline import pipeline

    config = make_task("multi-label", tmp_path) | {"output_dir": str(tmp_path / "model")}
    rows = config["data"]["train"]
    run = RunConfig.model_validate({**config, "eval": {"threshold": "tuned"}})
    metrics = execute(run, pipeline).metrics
    threshold = json.read(tmp_path / "model" / "inference.json")["head"]["threshold"]
    assert metrics["eval_f1_micro"] > 0 and threshold != 0.5
    said = tmp_path / "said.parquet"
    assert main(["predict", str(tmp_path / "model"), str(rows), "-o", str(said)]) == 0
    for row in pq.read_table(said).to_pylist():
        chances = {name.removeprefix("probability_"): each for name, each in row.items() if "probability_" in name}
        held = [name for name, each in chances.items() if np.float32(each) >= np.float32(threshold)]
        assert row["prediction"] == held and row["score"] == [chances[name] for name in held]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "regression"}, "eval.threshold: only text-classification"),
        ({"data": {"split": {"validation": 0.0}}}, "eval.threshold: 'tuned' needs validation rows"),
    ],
)
def test_no_say(more: dict[str, Any], said: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    from tasks.objectives.presets import resolve

    config = make_config(bert, rows, tmp_path / "store")
    config |= {"task": more.get("task", "text-classification"), "eval": {"threshold": "tuned"}}
    config["data"] = {**config["data"], **more.get("data", {})}
    with pytest.raises(ConfigError, match=said):
        resolve(RunConfig.model_validate(config), {})
