"""`export.promote: if_better`: which model `output_dir` holds in the end, and that a rerun decides the same."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.objectives.headline import headline
from tasks.results.finetuned import FineTuned
from tasks.runtime.main_metric import best_of, main_metric
from tests.flow import scenes
from tests.flow.scenes import executed, files
from tests.tiny import make_config

Run = Callable[..., FineTuned]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: what is trained is the same everywhere, and trained once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(bert: Path, rows: Path, store: Path, tmp_path: Path) -> Run:
    """A run whose model is judged by one of `scenes`, into `tmp_path/out`."""

    def run(judge: Callable[..., Mapping[str, Any]], *overrides: str, promote: str = "if_better") -> FineTuned:
        config = make_config(bert, rows, store, train__max_steps=2, export__promote=promote)
        config["output_dir"] = str(tmp_path / "out")
        return executed(config, *overrides, stages={"s10_evaluate": judge})

    return run


def reason(done: FineTuned, stage: str = "s11_save") -> str:
    return next(entry.reason for entry in done.stages if entry.stage == stage)


def key(folder: Path) -> str:
    return json.loads((folder / "finetune.json").read_text())["key"]


def test_a_worse_model_leaves_the_folder_as_it_is(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run(scenes.good)
    assert first.promoted and first.path == tmp_path / "out" and first.kept is None
    before = files(tmp_path / "out")
    done = run(scenes.worse)
    said = "kept the current model: test_accuracy 0.91 > 0.88"
    assert files(tmp_path / "out") == before
    assert (done.path, done.promoted, done.kept) == (None, False, said)
    assert said in reason(done) and said in done.report and said in caplog.text
    assert not done.model.training  # it is in the store, and can be had
    record = json.loads((Path(done._context.store.root) / "runs" / f"{done.run}.json").read_text())
    assert record["kept"] == said and record["state"] == "completed"


def test_the_same_run_again_decides_the_same(run: Run, tmp_path: Path) -> None:
    run(scenes.good)
    run(scenes.worse)
    before = files(tmp_path / "out")
    again = run(scenes.worse)
    assert {entry.state for entry in again.stages} == {"cached"}
    assert not again.promoted and "kept the current model: test_accuracy 0.91 > 0.88" in reason(again)
    assert files(tmp_path / "out") == before


def test_the_promoted_run_again_changes_nothing(run: Run, tmp_path: Path) -> None:
    run(scenes.worse)
    run(scenes.good)
    before = files(tmp_path / "out")
    again = run(scenes.good)
    after = files(tmp_path / "out")
    assert again.promoted
    header = "config.resolved.yaml"  # says in its first line which run wrote it
    assert before.pop(header).split(b"\n")[1:] == after.pop(header).split(b"\n")[1:]
    assert after == before


@pytest.mark.parametrize("second", [scenes.just_as_good, scenes.good], ids=["equal", "better"])
def test_an_equal_or_better_model_takes_the_place(run: Run, tmp_path: Path, second: Any) -> None:
    run(scenes.worse if second is scenes.good else scenes.good)
    before, report = key(tmp_path / "out"), (tmp_path / "out" / "report.html").read_text()
    done = run(second)
    assert done.promoted and key(tmp_path / "out") != before
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test_accuracy"] == 0.91
    now = (tmp_path / "out" / "report.html").read_text()
    assert done.run in now and now != report


def test_always_takes_the_place(run: Run, tmp_path: Path) -> None:
    run(scenes.good)
    assert run(scenes.worse, promote="always").promoted
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test_accuracy"] == 0.88


def test_validation_decides_where_one_of_them_has_no_test_rows(run: Run) -> None:
    run(scenes.good)
    assert run(scenes.untested).kept == "kept the current model: eval_accuracy 0.5 > 0.45"


def test_what_was_asked_for_decides_and_less_may_be_better(run: Run) -> None:
    run(scenes.good, "eval.best=loss")
    assert run(scenes.worse, "eval.best=loss").promoted
    assert run(scenes.good, "eval.best=loss").kept == "kept the current model: eval_loss 0.3 < 0.4"


def test_the_direction_that_the_config_gives_decides(run: Run) -> None:
    chosen = ("eval.best=accuracy", "eval.greater_is_better=false")
    run(scenes.good, *chosen)
    assert run(scenes.worse, *chosen).promoted
    assert run(scenes.good, *chosen).kept == "kept the current model: test_accuracy 0.88 < 0.91"


def test_the_main_metric_may_be_a_function_of_ones_own() -> None:
    for best, name in (("m:cost", "cost"), ("m:Costs.cost", "cost"), ("live:a.b", "a.b"), ("loss", "loss")):
        assert (
            main_metric("text-classification", best_of({"eval": {"best": best}}), {f"test_{name}": 1.0})
            == f"test_{name}"
        )


def test_what_could_not_be_measured_is_not_better(run: Run) -> None:
    run(scenes.good)
    assert run(scenes.unmeasured).kept == (
        "kept the current model: it has test_accuracy 0.91, the new one has none"
    )  # fmt: skip


@pytest.mark.parametrize("left", ["half", "torn"])
def test_what_is_no_whole_model_of_ours_is_replaced(run: Run, tmp_path: Path, left: str) -> None:
    out = tmp_path / "out"
    run(scenes.good)
    if left == "half":
        written = json.loads((out / "finetune.json").read_text())
        (out / "finetune.json").write_text(json.dumps({**written, "key": None}))
    else:
        (out / "metrics.json").write_text("{")
    assert run(scenes.worse).promoted
    assert json.loads((out / "metrics.json").read_text())["test_accuracy"] == 0.88


def test_main_metric() -> None:
    both, validation = {"test_accuracy": 0.5, "eval_accuracy": 0.4}, {"eval_accuracy": 0.3}
    task = "text-classification"
    assert main_metric(task, None, both) == "test_accuracy"
    assert main_metric(task, None, both, validation) == "eval_accuracy"
    assert main_metric(task, "f1_macro", both) is None
    assert main_metric(task, None, both, {"eval_loss": 1.0}) is None  # what both happen to have is not what counts
    assert main_metric("regression", None, {"eval_pearson": None, "eval_spearman": 0.1}) == "eval_spearman"
    assert main_metric("a task that is not installed", None, both) is None


@pytest.mark.parametrize(
    ("task", "best", "metrics", "first"),
    [
        ("sft", None, ("eval_exact_match", "eval_loss", "eval_perplexity", "eval_token_accuracy", "forgetting"),
         ["eval_perplexity", "eval_token_accuracy", "eval_loss", "eval_exact_match", "forgetting"]),
        ("kto", None, ("eval_desirable_reward", "eval_loss", "eval_roc_auc", "test_roc_auc"),
         ["test_roc_auc", "eval_desirable_reward", "eval_loss"]),
        ("grpo", None, ("test_completion_length", "test_reward", "test_win_rate"),
         ["test_reward", "test_win_rate", "test_completion_length"]),
        ("kto", "loss", ("eval_margin", "eval_loss", "eval_roc_auc"), ["eval_loss", "eval_roc_auc", "eval_margin"]),
        ("kto", "mine", ("eval_margin", "test_mine"), ["test_mine", "eval_margin"]),
        ("a task that is not installed", None, ("eval_b", "eval_a"), ["eval_b", "eval_a"]),
    ],
)  # fmt: skip
def test_the_headline_begins_with_what_the_run_is_for(
    task: str, best: str | None, metrics: tuple[str, ...], first: list[str]
) -> None:
    assert headline(task, best, {**dict.fromkeys(metrics, 0.5), "eval_undefined": None}) == first
