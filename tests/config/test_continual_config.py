"""The config of tasks that are trained one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.config import ConfigError, LoadedChain, load, load_chain, load_either

BASE: dict[str, Any] = {"model": "m", "task": "text-classification"}


def loaded(continual: Any, *overrides: str, **shared: Any) -> LoadedChain:
    return load_chain({**BASE, **shared, "continual": continual}, overrides)


def test_a_list_of_data_sets_is_a_chain_named_after_them() -> None:
    found = loaded(["bbc/train.csv", {"data": {"train": "trec.csv"}, "seed": 3}, "x/trec.csv"], output_dir="out")
    assert [step.name for step in found.steps] == ["bbc", "trec", "trec-2"]
    assert [step.run.config.data.train for step in found.steps] == ["bbc/train.csv", "trec.csv", "x/trec.csv"]
    assert [step.run.config.seed for step in found.steps] == [42, 3, 42]
    assert found.steps[0].run.config.output_dir == "out/bbc" and found.output_dir == "out"
    assert found.continual is not None and found.continual.start == "previous"


def test_options_are_beside_the_tasks() -> None:
    tasks = [{"name": "one", "data": "a.csv"}, {"name": "two", "data": "b.csv", "task": "regression"}]
    found = loaded({"tasks": tasks, "start": "base", "max_forgetting": 0.1}, "continual.alone=true")
    assert found.continual is not None
    assert (found.continual.start, found.continual.max_forgetting, found.continual.alone) == ("base", 0.1, True)
    assert [step.run.config.task for step in found.steps] == ["text-classification", "regression"]
    again = load_chain(found.parameters())
    assert again.continual == found.continual
    assert [step.run.config for step in again.steps] == [step.run.config for step in found.steps]


def test_overrides_of_a_task_and_of_a_list() -> None:
    found = loaded(["a.csv", "b.csv"], "train.max_steps=2", "continual[1].train.max_steps=4", "continual.start=base")
    assert [step.run.config.train.max_steps for step in found.steps] == [2, 4]
    assert found.continual is not None and found.continual.start == "base"


@pytest.mark.parametrize(
    ("continual", "message"),
    [
        (["a.csv"], "continual: 1 given"),
        ("a.csv", "continual: must be a list of data sets"),
        ([{"data": "a.csv"}, {"data": "b.csv", "sedd": 1}], r"continual\[1\].sedd: .*did you mean seed"),
        ({"tasks": ["a.csv", "b.csv"], "strat": "base"}, r"continual.strat: .*did you mean start"),
        ({"tasks": ["a.csv", "b.csv"], "max_forgetting": -1}, "continual.max_forgetting"),
        ([{"name": "x", "data": "a.csv"}, {"name": "x", "data": "b.csv"}], r"continual\[1\].name: 'x' is given twice"),
        ([{"data": "a.csv", "model": "n"}, "b.csv"], r"continual\[0\].model.name"),
    ],
)
def test_mistakes_are_named(continual: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(continual)


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model: m\ntask: text-classification\ncontinual:\n  - a.csv\n  - data: b.csv\n    sedd: 1\n")
    with pytest.raises(ConfigError, match=r"c.yaml:6: continual\[1\].sedd"):
        load_chain(file)


def test_other_commands_say_which_one_it_is_for() -> None:
    with pytest.raises(ConfigError, match="continual: these are for `finetune continual`"):
        load({**BASE, "continual": ["a.csv", "b.csv"]})
    with pytest.raises(ConfigError, match="a config has steps or continual"):
        loaded(["a.csv", "b.csv"], steps=[{"task": "sft"}])
    assert isinstance(load_either({**BASE, "continual": ["a.csv", "b.csv"]}), LoadedChain)
