"""What the best checkpoint is chosen by: only what a run gives, and never the last weights in place of lost ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.artifacts.formats.manifest import commit
from tasks.config import ConfigError, RunConfig, TrainingError
from tasks.evaluation.scoring import while_training
from tasks.objectives import OBJECTIVES, objective_of
from tasks.objectives.measured import refuse_undefined, refuse_unfit_for_labels
from tasks.objectives.presets import resolve
from tasks.training.checkpoints import newest_whole
from tests.flow.scenes import executed
from tests.tiny import make_config


def checkpoint(folder: Path, step: int, best: int | None) -> Path:
    found = folder / f"checkpoint-{step}"
    found.mkdir()
    named = f"/elsewhere/checkpoint-{best}" if best else None
    (found / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_model_checkpoint": named}))
    commit(found)
    return found


def test_a_checkpoint_whose_best_is_lost_is_not_gone_on_from(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, 4, None)
    best, last = checkpoint(tmp_path, 8, 8), checkpoint(tmp_path, 12, 8)
    assert newest_whole(tmp_path) == last
    shutil.rmtree(best)
    assert newest_whole(tmp_path) == first


def test_a_best_checkpoint_that_is_lost_while_training_ends_it(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.training.callbacks.control import Watch

    def lose(self: Watch, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            shutil.rmtree(state.best_model_checkpoint)

    monkeypatch.setattr(Watch, "on_save", lose, raising=False)
    with pytest.raises(TrainingError, match=r"checkpoint-4, is missing"):
        executed(make_config(bert, rows, tmp_path, eval={"best": "loss"}, train__max_steps=4))


def resolved(**sections: Any) -> RunConfig:
    return resolve(RunConfig.model_validate({"model": "m", "data": "d.csv", **sections}), {})[0]


def test_texts_that_are_not_produced_are_no_measure() -> None:
    written = {"task": "sequence-sequence", "train": {"predict_with_generate": False}}
    with pytest.raises(ConfigError, match=r"eval.best: rougeL .* train.predict_with_generate"):
        resolved(**written, eval={"best": "rougeL"})
    assert resolved(**written, eval={"best": "perplexity"}).eval.best == "perplexity"


def test_a_metric_the_task_has_not_is_refused_before_anything_is_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"eval.best: .* did you mean 'accuracy'"):
        resolved(eval={"best": "acuracy"})


def test_a_metric_of_rows_of_another_kind_is_refused() -> None:
    objective = objective_of("text-classification")
    with pytest.raises(ConfigError, match=r"eval.best: f1_micro is undefined for rows with one label each"):
        refuse_unfit_for_labels(
            {"labels": ["a", "b"], "problem_type": "single_label_classification"},
            RunConfig.model_validate({"model": "m", "data": "d", "eval": {"best": "f1_micro"}}), objective,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("best", "column", "lacking", "enough"),
    [
        ("roc_auc", "label", [1, 1, 1], [1, 0, 1]),
        ("roc_auc", "label", [[1.0, 0.0]] * 2, [[1.0, 0.0], [0.0, 1.0]]),
        ("pearson", "label", [0.5, 0.5, 0.5], [0.5, 0.1, 0.5]),
        ("has_answer_f1", "answers", [{"text": []}], [{"text": []}, {"text": ["a"]}]),
        ("no_answer_f1", "answers", [{"text": ["a"]}], [{"text": []}, {"text": ["a"]}]),
    ],
)
def test_a_metric_that_means_nothing_for_the_validation_rows_is_refused(
    best: str, column: str, lacking: list[Any], enough: list[Any]
) -> None:
    objective = next(each for each in OBJECTIVES.values() if best in each.metric_names)
    refuse_undefined(objective, best, pa.table({column: enough}))
    refuse_undefined(objective, "loss", pa.table({column: lacking}))
    with pytest.raises(ConfigError, match=f"eval.best: {best} is undefined"):
        refuse_undefined(objective, best, pa.table({column: lacking}))


@pytest.mark.parametrize("fails", [True, False])
def test_a_scorer_that_gives_no_number_never_ends_a_training(fails: bool) -> None:
    class Broken:
        def rows(self, batch: Any) -> Any:
            if fails:
                raise RuntimeError("broken")
            return __import__("numpy").ones((1, 1))

        def measures(self, sums: Any) -> Any:
            return {"accuracy": sums[:, 0] * float("nan")}

        def ranks(self, table: Any) -> Any:
            return {}

    told: list[str] = []
    plan = {"arguments": {"metric_for_best_model": "accuracy", "greater_is_better": True}}
    found = while_training(Broken(), plan, told.append)(pa.table({"a": [1]}))
    assert found["accuracy"] == -float("inf")
    assert any("this evaluation has no accuracy" in line for line in told)
