"""The config of a chain: what steps share, what each says itself, and messages that name the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.config import ConfigError, LoadedChain, load, load_chain, load_either

STEPS: list[dict[str, Any]] = [{"task": "sft", "data": "a.jsonl"}, {"task": "dpo", "data": "b.jsonl"}]
BASE: dict[str, Any] = {"model": "m", "steps": STEPS}


def chain(*own: dict[str, Any], overrides: tuple[str, ...] = (), **shared: Any) -> LoadedChain:
    steps = [step | (own[at] if at < len(own) else {}) for at, step in enumerate(STEPS)]
    return load_chain({"model": "m", **shared, "steps": steps}, overrides)


def test_values_of_a_step_are_merged_over_the_shared_ones() -> None:
    found = chain(
        {"train": {"learning_rate": 1e-3, "evaluation_strategy": "epoch"}, "peft": {"r": 4}},
        {"data": {"train": "b.jsonl", "max_length": 9}, "peft": "ia3"},
        data={"max_length": 5, "split": {"validation": 0.2}}, train={"learning_rate": 1.0, "max_steps": 3},
        peft={"method": "lora", "r": 8, "lora_alpha": 3}, methods={"freeze": 1},
    )  # fmt: skip
    one, two = (step.run.config for step in found.steps)
    assert (one.data.train, one.data.max_length, one.data.split.validation) == ("a.jsonl", 5, 0.2)
    assert (two.data.train, two.data.max_length, two.data.split.validation) == ("b.jsonl", 9, 0.2)
    assert (one.train.learning_rate, one.train.max_steps, two.train.learning_rate) == (1e-3, 3, 1.0)
    assert one.train.eval_strategy == "epoch", "its old name is known in a step too"
    assert one.peft.model_dump()["r"] == 4 and one.peft.model_dump()["lora_alpha"] == 3
    assert two.peft.method == "ia3", "another method has other fields"


def test_a_short_form_that_means_nothing_replaces() -> None:
    found = chain({}, {"quant": False, "peft": False}, quant={"load_in_4bit": True}, peft="lora")
    one, two = (step.run.config for step in found.steps)
    assert (one.quant.bits, two.quant.bits, two.peft.method) == (4, None, "none")


def test_names_and_folders() -> None:
    found = chain(name="helper", output_dir="out")
    assert [step.name for step in found.steps] == ["sft", "dpo"]
    assert [step.run.config.name for step in found.steps] == ["helper-sft", "helper-dpo"]
    assert [step.run.config.output_dir for step in found.steps] == ["out/sft", "out/dpo"]
    found = chain({"name": "first"}, {"task": "sft", "output_dir": "mine"}, output_dir="out")
    assert [step.name for step in found.steps] == ["first", "sft"]
    assert [step.run.config.output_dir for step in found.steps] == ["out/first", "mine"]
    assert [step.run.config.name for step in found.steps] == ["first", "sft"]
    assert [step.name for step in load_chain({**BASE, "steps": [STEPS[0], STEPS[0]]}).steps] == ["sft", "sft-2"]


def test_overrides_win_in_all_steps_or_in_one() -> None:
    found = chain(
        {"train": {"max_steps": 1}}, {}, seed=1, train={"max_steps": 2},
        overrides=("train.max_steps=3", "steps[1].train.max_steps=4", "steps.0.seed=5", "model=other", "name=n"),
    )  # fmt: skip
    one, two = (step.run.config for step in found.steps)
    assert (one.train.max_steps, two.train.max_steps, one.seed, two.seed) == (3, 4, 5, 1)
    assert one.model.name == two.model.name == "other" and two.name == "n-dpo"
    assert found.steps[0].run.origin["train.max_steps"] == "command line"


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text(
        "model: m\nseed: 3\nsteps:\n- {task: sft, data: a}\n- task: dpo\n  data: b\n  train:\n    max_steps: 1\n"
    )
    found = load_either(file)
    assert isinstance(found, LoadedChain)
    origin = found.steps[1].run.origin
    assert (origin["seed"], origin["data.train"]) == ("chain.yaml:2", "chain.yaml:6")
    file.write_text(file.read_text().replace("max_steps: 1", "lerning_rate: 1").replace("seed: 3", "seed: -3"))
    with pytest.raises(ConfigError) as error:
        load_chain(file)
    assert str(error.value).splitlines()[:2] == ["2 problems in chain.yaml:", "- chain.yaml:2: seed: -3 given; valid: "
                                                 "a whole number, at least 0 and below 4294967296"]  # fmt: skip
    assert "- chain.yaml:8: steps[1].train.lerning_rate: unknown name" in str(error.value)


def test_a_chain_as_parameters_is_the_same_chain() -> None:
    found = chain({"peft": "lora"}, {"train": {"max_steps": 1}, "model": {"dtype": "bfloat16"}}, name="n",
                  output_dir="out", store="s", model={"name": "m", "revision": "r"},
                  data={"max_length": 5})  # fmt: skip
    again = load_chain({name: value for name, value in found.parameters().items() if value is not None})
    assert [(step.name, step.run.config) for step in again.steps] == [(s.name, s.run.config) for s in found.steps]


def test_a_later_step_starts_from_a_folder_without_a_revision() -> None:
    step = chain(model={"name": "m", "revision": "r", "dtype": "float16"}).steps[1]
    found = step.starting_from(Path("runs/sft"), "sft")
    assert (found.config.model.name, found.config.model.revision, found.config.model.dtype) == ("runs/sft", None,
                                                                                                 "float16")  # fmt: skip
    assert found.origin["model.name"] == "the model of step sft"


@pytest.mark.parametrize(("values", "message"), [
    ({"model": "m"}, "steps: missing; a chain needs a list of at least two steps"),
    ({"model": "m", "steps": [STEPS[0]]}, "steps: 1 given; a chain needs"),
    ({"model": "m", "steps": {"task": "sft"}}, "steps: not a list; a chain needs"),
    ({"model": "m", "steps": "sft"}, "steps: not a list"),
    ({"model": "m", "steps": [STEPS[0], "dpo"]}, "steps[1]: must be a mapping (task: …, data: …), not 'dpo'"),
    ({"model": "m", "steps": [STEPS[0], {"data": "b"}]}, "steps[1].task: missing"),
    ({"model": "m", "steps": [STEPS[0], {"task": "dpo"}]}, "steps[1].data: missing"),
    ({"steps": STEPS}, "model: missing"),
    ({**BASE, "sweep": {"seeds": [1, 2]}}, "sweep: a config has steps or a sweep"),
    ({**BASE, "stpes": 1}, "stpes: unknown name"),
    ({**BASE, "steps": [STEPS[0], {**STEPS[1], "store": "s"}]}, "steps[1].store: all steps share one store"),
    ({**BASE, "steps": [STEPS[0], {**STEPS[1], "model": "x"}]}, "steps[1].model.name: a step starts from"),
    ({**BASE, "steps": [STEPS[0], {**STEPS[1], "name": "a/b"}]}, "steps[1].name: 'a/b' given; valid: letters"),
    ({**BASE, "steps": [{**STEPS[0], "name": "a"}, {**STEPS[1], "name": "a"}]}, "steps[1].name: 'a' is given twice"),
    ({**BASE, "steps": [STEPS[0], {**STEPS[1], "quant": {"load_in_8bit": True}}], "quant": True},
     "steps[1].quant: load_in_4bit and load_in_8bit are both true"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_the_step(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_chain(values)
    assert f": {message}" in str(error.value)


@pytest.mark.parametrize(("override", "message"), [
    ("train.lr_=1", "- command line: train.lr_: unknown name"),
    ("steps[1].train.lr_=1", "- command line: steps[1].train.lr_: unknown name"),
    ("steps[2].seed=1", "- command line: steps[2]: there are 2 steps, counted from 0"),
    ("nonsense", "- command line: 'nonsense': an override must have the form dotted.name=value"),
    ("steps[0].seed.x=1", "- command line: steps[0].seed: {\"x\": 1} given; valid: a whole number"),
])  # fmt: skip
def test_a_wrong_override_is_one_problem(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        chain(overrides=(override,), seed=1)
    assert str(error.value).startswith("1 problem") and message in str(error.value)


def test_other_commands_name_the_one_for_steps() -> None:
    with pytest.raises(ConfigError, match="steps: these are for `finetune align`"):
        load(BASE)
