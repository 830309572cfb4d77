"""`eval.forgetting`: the loss on held-out text before and after training."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.api import plan
from tasks.config import ConfigError, DataError, RunConfig, load
from tasks.objectives.presets import resolve
from tests.flow.scenes import executed
from tests.tiny import WORDS, make_task

NAMES = {
    "forgetting",
    *(f"forgetting_{what}_{when}" for what in ("loss", "perplexity") for when in ("before", "after")),
}


def texts(folder: Path, name: str = "held.txt", rows: int = 12) -> Path:
    path = folder / name
    path.write_text("".join(" ".join(WORDS[at : at + 3 + at % 5]) + "\n" for at in range(rows)))
    return path


def short(name: str, folder: Path, held: Path, **train: Any) -> dict[str, Any]:
    config = make_task(name, folder)
    given = {"forgetting": {"data": str(held)}} | ({"samples": 0} if name == "sft" else {})
    return config | {"train": config["train"] | {"max_steps": 2} | train, "eval": given}


def loss_of(model: Any, tokenizer: Any, lines: list[str]) -> float:
    """The mean loss per token, text by text."""
    total = tokens = 0
    for line in lines:
        ids = torch.tensor([tokenizer(line)["input_ids"]])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    return total / tokens


def test_the_losses_are_those_of_the_two_models(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    held = texts(tmp_path)
    config = short("sft", tmp_path, held, learning_rate=0.05) | {"output_dir": str(tmp_path / "out")}
    done = executed(config)
    model, tokenizer = done
    lines = held.read_text().splitlines()
    before = AutoModelForCausalLM.from_pretrained(config["model"]["name"])
    expected = [loss_of(each, tokenizer, lines) for each in (before.eval(), model)]
    found = [done.metrics[f"forgetting_loss_{when}"] for when in ("before", "after")]
    assert found == pytest.approx(expected, rel=1e-5) and found[0] != found[1]
    assert done.metrics["forgetting"] == pytest.approx(found[1] - found[0])
    assert done.metrics["forgetting_perplexity_after"] == pytest.approx(math.exp(found[1]))
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert saved.keys() >= NAMES and json.loads((tmp_path / "out" / "all_results.json").read_text()).keys() >= NAMES
    for page in (done.report, (tmp_path / "out" / "README.md").read_text()):
        assert all(f"| {name} |" in page for name in NAMES)
    assert "held-out text" in (tmp_path / "out" / "README.md").read_text()
    again = executed(config, "train.learning_rate=0.01")
    states = {entry.stage: entry.state for entry in again.stages}
    assert states["s07c_held_out"] == "cached" and states["s09_train"] == "built"
    assert again.metrics["forgetting_loss_before"] == found[0] and again.metrics["forgetting_loss_after"] != found[1]


@pytest.mark.parametrize("task", ["language-generation", "dpo", "kto"])
def test_a_model_that_did_not_learn_forgot_nothing(task: str, tmp_path: Path) -> None:
    done = executed(short(task, tmp_path, texts(tmp_path), learning_rate=0.0))
    assert done.metrics["forgetting"] == 0 and done.metrics["forgetting_loss_before"] > 0


def keys(config: dict[str, Any], *overrides: str) -> dict[str, str]:
    _, context = plan(load(config, overrides))
    return {entry.stage: context.refs[entry.stage].digest for entry in context.entries}


def test_the_texts_are_in_the_key_and_where_they_are_is_not(tmp_path: Path) -> None:
    held = texts(tmp_path)
    config = short("sft", tmp_path, held)
    executed(config)
    first = keys(config)
    (tmp_path / "other").mkdir()
    moved = texts(tmp_path / "other")
    assert keys(config, f"eval.forgetting.data={moved}") == first
    held.write_text(held.read_text().replace(WORDS[0], WORDS[-1], 1))
    changed = keys(config)
    assert {stage for stage in first if changed[stage] != first[stage]} == {
        "s07c_held_out", "s10_evaluate", "s11_save", "s12_handoff"
    }  # fmt: skip
    assert keys(config, "eval.forgetting.max_samples=3")["s07c_held_out"] != changed["s07c_held_out"]
    none = keys(config, "eval.forgetting.data=null")
    assert "s07c_held_out" not in none and none["s09_train"] == first["s09_train"]


def resolved(task: str, given: Any) -> RunConfig:
    config = {"model": "m", "data": "d.csv", "task": task, "eval": {"forgetting": given}}
    return resolve(RunConfig.model_validate(config), {})[0]


@pytest.mark.parametrize("task", ["text-classification", "sequence-sequence", "language-modeling", "reward"])
def test_other_tasks_are_refused(task: str) -> None:
    says = rf"eval.forgetting: {task} trains no causal language model.*; language-generation, sft, dpo, kto.* do"
    with pytest.raises(ConfigError, match=says):
        resolved(task, {"data": "held.txt"})
    resolved(task, {})


@pytest.mark.parametrize("given", [{"max_samples": 5}, {"column": "text"}])
def test_options_without_texts_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"eval.forgetting: {next(iter(given))} given without data"):
        load({"model": "m", "data": "d.csv", "task": "sft", "eval": {"forgetting": given}})


@pytest.mark.parametrize(
    ("name", "content", "given", "says"),
    [
        ("missing.txt", None, {}, r"eval.forgetting.data: no file or folder"),
        ("a.jsonl", '{"text": "a b"}\n', {"column": "txt"}, r"eval.forgetting.column: no column 'txt'.*text"),
        ("a.jsonl", '{"x": "a b", "y": 1}\n', {}, r"eval.forgetting.column: not set, and none of the columns 'x', 'y'"),
        ("a.jsonl", '{"text": 1}\n', {}, r"eval.forgetting.column: 'text' holds int64 values, not texts: a.jsonl:1"),
        ("a.jsonl", '{"text": " "}\n{"text": null}\n', {}, r"eval.forgetting.data: all 2 texts are blank"),
        ("a.bin", "x", {}, r"eval.forgetting.data: the format of a.bin is not clear .* rename it, or give a glob"),
        ("a.jsonl", '{"text": "bal"}\n', {}, r"eval.forgetting.data: no text has two tokens"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_used_are_refused_before_training(
    name: str, content: str | None, given: dict[str, Any], says: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    config = short("sft", tmp_path, tmp_path / name)
    config["eval"]["forgetting"] |= given

    def trained(*_: object, **__: object) -> Any:
        raise AssertionError("it is trained")

    with pytest.raises((ConfigError, DataError), match=says):
        executed(config, stages={"s09_train": trained})


@pytest.mark.slow
def test_an_adapter_that_is_trained_on_is_part_of_the_model_before(tmp_path: Path) -> None:
    config = short("sft", tmp_path, texts(tmp_path), learning_rate=0.05)
    one = executed(config | {"peft": "lora", "output_dir": str(tmp_path / "one")})
    two = executed(config | {"model": str(tmp_path / "one"), "peft": "continue"}, "train.learning_rate=0.0")
    assert two.metrics["forgetting_loss_before"] == pytest.approx(one.metrics["forgetting_loss_after"], rel=1e-6)
    assert two.metrics["forgetting"] == pytest.approx(0, abs=1e-6)
