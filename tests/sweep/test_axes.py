"""From axes to cells: what there is, in which order, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import ConfigError, SweepConfig, load_sweep
from tasks.sweep.axes import derived, settings_of
from tasks.sweep.cells import cells_of
from tasks.sweep.goal import goal_of

BASE: dict[str, Any] = {"model": "m", "data": {"train": "d", "split": {"validation": 0.1}}}


def sweep(**more: Any) -> SweepConfig:
    return SweepConfig.model_validate(more)


def test_a_product_in_the_order_of_its_axes() -> None:
    found = settings_of(sweep(grid={"train.learning_rate": [1, 2], "peft.r": [4, 8]}))
    assert [tuple(each.values()) for each in found] == [(1, 4), (1, 8), (2, 4), (2, 8)]


def test_pairs_go_together_and_multiply_with_products() -> None:
    found = settings_of(sweep(grid={"a.x": [1, 2]}, paired={"b.y": [1, 2, 3], "b.z": [4, 5, 6]}))
    assert len(found) == 6 and {"a.x": 2, "b.y": 3, "b.z": 6} in found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), low=st.floats(1e-6, 1.0), ratio=st.floats(1.5, 1e4))
def test_draws_are_in_range_and_repeat(seed: int, low: float, ratio: float) -> None:
    axes = {
        "train.learning_rate": {"low": low, "high": low * ratio, "log": True},
        "peft.r": {"low": 2, "high": 9, "step": 2},
        "train.optim": ["sgd", "adamw_torch"],
    }
    found = settings_of(sweep(random=axes, n_trials=8, seed=seed))
    assert found == settings_of(sweep(random=axes, n_trials=8, seed=seed))
    for each in found:
        assert low * 0.999 <= each["train.learning_rate"] <= low * ratio * 1.001
        assert each["peft.r"] in (2, 4, 6, 8) and isinstance(each["peft.r"], int)
        assert each["train.optim"] in ("sgd", "adamw_torch")


def test_a_draw_that_comes_twice_is_one_cell() -> None:
    assert len(settings_of(sweep(random={"peft.r": [4]}, n_trials=5))) == 1
    assert len(settings_of(sweep(grid={"train.bf16": [True, 1]}))) == 2  # equal to Python only


def test_steps_are_the_numbers_they_look_like() -> None:
    axes = {"train.weight_decay": {"low": 0.1, "high": 0.7, "step": 0.1}}
    found = {each["train.weight_decay"] for each in settings_of(sweep(random=axes, n_trials=60))}
    assert found == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}


def test_a_rounded_draw_stays_in_its_range() -> None:
    axes = {"peft.lora_dropout": {"low": 0.99998, "high": 0.99999}}
    assert all(0.99998 <= each["peft.lora_dropout"] <= 0.99999 for each in settings_of(sweep(random=axes, n_trials=9)))


def test_fields_are_computed_from_others() -> None:
    known = {"peft.r": 8, "train.learning_rate": 1e-4}
    formulas = {"a": "2 * peft.r", "b": "max(peft.r // 3, 1) ** 2", "c": "-train.learning_rate / 10 + 1"}
    assert derived(formulas, lambda name: known[name]) == {"a": 16, "b": 4, "c": -1e-5 + 1}


def test_what_is_computed_may_be_computed_from() -> None:
    formulas = {"b": "a.x * 2", "a.x": "peft.r + 1", "c": "b + a.x"}
    assert derived(formulas, {"peft.r": 8, "a.x": 0}.__getitem__) == {"b": 18, "a.x": 9, "c": 27}
    with pytest.raises(ConfigError, match="a is computed from itself: a from b from a"):
        derived({"a": "b + 1", "b": "a"}, lambda _: 1)


@pytest.mark.parametrize(
    "formula", ["__import__('os')", "peft.r.__class__", "peft.r +", "[1]", "peft.r / 0", "'a' * 3"]
)
def test_formulas_are_arithmetic_and_nothing_else(formula: str) -> None:
    def known(name: str) -> Any:
        if name != "peft.r":
            raise ConfigError(f"sweep.derive: there is no field {name!r}")
        return 8

    with pytest.raises(ConfigError, match=r"sweep\.derive"):
        derived({"a": formula}, known)


def test_a_cell_is_the_base_with_its_settings_judged_on_validation() -> None:
    said = {"grid": {"peft.r": [2, 4]}, "derive": {"peft.lora_alpha": "2 * peft.r"}, "seeds": [1, 2]}
    loaded = load_sweep({**BASE, "output_dir": "out", "peft": "lora", "sweep": said})
    cells = cells_of(loaded)
    assert [cell.group for cell in cells] == [0, 0, 1, 1]
    assert cells[3].overrides == {"peft.r": 4, "seed": 2, "peft.lora_alpha": 8}
    config = cells[3].loaded.config
    assert (config.seed, config.peft.r, config.peft.lora_alpha) == (2, 4, 8)  # type: ignore[union-attr]
    assert config.output_dir is None and config.eval.splits == ["validation"]
    assert cells[3].loaded.origin["peft.r"] == "sweep"
    assert loaded.base.config.output_dir == "out"


def test_what_holds_others_does_not_take_them_away() -> None:
    said = {"grid": {"peft.r": [4, 8]}, "paired": {"peft": ["lora"]}}
    assert [cell.loaded.config.peft.r for cell in cells_of(load_sweep({**BASE, "sweep": said}))] == [4, 8]  # type: ignore[union-attr]


def test_a_section_as_a_value_stays_what_was_said() -> None:
    said = {"grid": {"eval": [{"bootstrap": 0}, {"bootstrap": 9}]}}
    loaded = load_sweep({**BASE, "sweep": said})
    cell = cells_of(loaded)[0]
    assert cell.loaded.config.eval.splits == ["validation"]
    assert cell.overrides == {"eval": {"bootstrap": 0}}
    assert "test" in loaded.cell(cell.overrides).config.eval.splits  # the best one is judged on test rows, too


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "nothing varies"),
        ({"grid": {"peft.r": []}}, "grid"),
        ({"grids": {"peft.r": [1]}}, "sweep.grids: unknown name"),
        ({"paired": {"a.b": [1], "a.c": [1, 2]}}, "equally long: a.b 1, a.c 2"),
        ({"random": {"peft.r": [1]}}, "random and n_trials must be set together"),
        ({"random": {"peft.r": {"low": 3, "high": 1}}, "n_trials": 2}, "low 3 is not below high 1"),
        ({"random": {"peft.r": {"low": 0, "high": 1, "log": True}}, "n_trials": 2}, "log needs low above 0"),
        ({"grid": {"seed": [1]}}, "seed cannot vary in a sweep; use sweep.seeds"),
        ({"grid": {"output_dir": ["a"]}}, "only the best cell's model"),
        ({"grid": {"peft.r": [1]}, "derive": {"peft.r": "2"}}, "given twice"),
        ({"grid": {"peft.r": [1]}, "sampler": "tpe"}, "tpe needs axes in random"),
        ({"grid": {"peft.r": [1]}, "runner": "spark"}, "sweep.runner"),
        ({"grid": {"peft.r": [1]}, "halving": 1}, "sweep.halving"),
        ({"grid": {"peft.r": [1]}, "halving": {"first": 0.2}}, "without it there are no rungs"),
        ({"grid": {"peft.r": [1]}, "address": "ray://a:1"}, "set runner: ray or dask"),
        ({"grid": {"peft.r": [1]}, "seeds": [1, 2, 1]}, "seeds: 1 is given twice"),
        ({"grid": {"train.learning_rate": 1e-4}}, "train.learning_rate: 0.0001 given; valid: a list"),
        ({"random": {"peft.r": {"min": 1, "max": 2}}, "n_trials": 2}, "valid: {low: …, high: …}"),
        ({"grid": {f"a.{at}": [*range(10)] for at in range(12)}}, "cells are more than the limit of 10,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep({**BASE, "sweep": said})
    assert message in str(caught.value)


def test_cells_that_cannot_be_are_named_before_any_is_begun() -> None:
    loaded = load_sweep({**BASE, "sweep": {"grid": {"train.lerning_rate": [1e-4, 1e-3]}}})
    with pytest.raises(ConfigError, match=r"(?s)2 of its cells are invalid.*lerning_rate.*did you mean"):
        cells_of(loaded)


def test_a_config_without_a_sweep_is_told_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"sweep: missing; a grid needs axes"):
        load_sweep(BASE)


@pytest.mark.parametrize(
    ("more", "metric", "up"),
    [
        ({}, "eval_accuracy", True),
        ({"metric": "loss"}, "eval_loss", False),
        ({"metric": "eval_f1_macro"}, "eval_f1_macro", True),
        ({"eval": {"metrics": ["f1_macro"]}}, "eval_f1_macro", True),
        ({"eval": {"metrics": ["my.own:metric"]}, "metric": "my.own:metric"}, "eval_metric", True),
        ({"eval": {"metrics": ["o:cost"], "best": "o:cost", "greater_is_better": False}}, "eval_cost", False),
    ],
)
def test_what_decides(more: dict[str, Any], metric: str, up: bool) -> None:
    judging = more.get("eval", {})
    more = {name: value for name, value in more.items() if name != "eval"}
    loaded = load_sweep({**BASE, "eval": judging, "sweep": {"grid": {"peft.r": [1]}, **more}})
    goal = goal_of(loaded.base.config, loaded.sweep)
    assert (goal.metric, goal.greater_is_better) == (metric, up)


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ({"train": "d", "split": {"validation": 0.0}}, {}, "there are none; set data.validation"),
        (BASE["data"], {"metric": "acuracy"}, "did you mean 'accuracy'"),
        (BASE["data"], {"metric": "test_accuracy"}, "must not select"),
        (BASE["data"], {"metric": "o:cost"}, r"add it to eval\.metrics too"),
        (BASE["data"], {"metric": "loss"}, r"not in eval\.metrics"),
    ],
)
def test_what_cannot_decide(data: dict[str, Any], more: dict[str, Any], message: str) -> None:
    judging = {"metrics": ["accuracy"]}
    loaded = load_sweep({**BASE, "data": data, "eval": judging, "sweep": {"grid": {"peft.r": [1]}, **more}})
    with pytest.raises(ConfigError, match=message):
        goal_of(loaded.base.config, loaded.sweep)
