"""A package of a user's own brings a metric, with its direction."""

from pathlib import Path
from typing import Any

import pytest

from flows.api import plan
from tasks.config import ConfigError, load, load_sweep
from tasks.objectives.metrics import Metric, installed_metrics
from tasks.objectives.presets import resolve
from tasks.runtime.main_metric import best_of, main_metric
from tasks.sweep.goal import goal_of
from tests.flow.scenes import executed
from tests.tiny import make_config

PATH = "their_task.misses:misses"


def test_it_is_named_and_chooses_the_best_checkpoint(bert: Path, rows: Path, tmp_path: Path) -> None:
    chosen = {"metrics": ["accuracy", "misses"], "best": "misses"}
    config = make_config(bert, rows, tmp_path / "store", train__max_steps=2, eval=chosen)
    done = executed(config)
    assert {"eval_misses", "test_misses"} < set(done.metrics)
    wrong = (1 - done.metrics["test_accuracy"]) * done.rows("test").num_rows
    assert done.metrics["test_misses"] == pytest.approx(wrong)
    assert "test_misses" in done.report


def test_the_resolved_config_has_its_function_and_direction(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, eval={"metrics": ["loss", "misses"], "best": "misses"})
    resolved, origin = resolve(load(config).config, {})
    assert resolved.eval.metrics == ["loss", PATH]
    assert (resolved.eval.best, resolved.eval.greater_is_better) == (PATH, False)
    assert origin["eval.greater_is_better"] == "the metric misses"
    assert resolve(resolved, {})[0].eval == resolved.eval
    config["eval"]["greater_is_better"] = True
    assert resolve(load(config).config, {})[0].eval.greater_is_better is True
    assert main_metric("text-classification", best_of(resolved.model_dump()), {"eval_misses": 3.0}) == "eval_misses"


@pytest.mark.parametrize("field", ["metrics", "best"])
def test_its_name_is_suggested(field: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, eval={field: ["mises"] if field == "metrics" else "mises"})
    with pytest.raises(ConfigError, match=rf"eval\.{field}: .* of other packages: misses, .* did you mean 'misses'\?"):
        resolve(load(config).config, {})


@pytest.mark.parametrize("wanted", ["misses", "eval_misses", PATH])
def test_a_sweep_is_ranked_by_it(wanted: str, bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path, sweep={"grid": {"train.learning_rate": [1e-3, 2e-3]}, "metric": wanted})
    given = load_sweep(config)
    with pytest.raises(ConfigError, match=rf"'{PATH}' is not computed, .* add it to eval\.metrics too"):
        goal_of(resolve(given.base.config, {})[0], given.sweep)
    config["eval"] = {"metrics": ["misses"]}
    given = load_sweep(config)
    goal = goal_of(resolve(given.base.config, {})[0], given.sweep)
    assert (goal.metric, goal.greater_is_better) == ("eval_misses", False)


def test_its_code_is_in_the_key_of_the_evaluation(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> dict[str, Any]:
        config = make_config(bert, rows, tmp_path / "store", eval={"metrics": ["misses"]})
        return plan(load(config))[1].refs

    before = keys()["s10_evaluate"].key
    monkeypatch.setattr(
        "tasks.evaluation.metric_code.function_version", lambda function: {function.__module__: "edited"}
    )
    assert keys()["s10_evaluate"].key != before


def test_a_metric_without_a_function_of_its_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="metric misses: function 'a:b' given; valid: module:misses"):
        Metric("misses", function="a:b")
    monkeypatch.setattr("tasks.objectives.metrics.installed", lambda *_: {"misses": Metric("misses")})
    installed_metrics.cache_clear()
    with pytest.raises(ConfigError, match=r"misses in finetune_flow\.metrics: its Metric has no function"):
        installed_metrics()
