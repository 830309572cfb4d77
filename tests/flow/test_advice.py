"""A plan advises on settings that usually train badly, and not on usual ones."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.api import plan
from flows.cli import main
from tasks.config import load
from tasks.execution.advice import _epochs, _rate, advice
from tasks.execution.estimate import Estimate, estimate
from tasks.objectives.presets import resolve
from tests.shipped import runs_of
from tests.tiny import WORDS, make_config

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"


def table(path: Path, labels: list[str], words: int = 4) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for i, label in enumerate(labels):
            some = [WORDS[i % 65], WORDS[i // 65 % 65], *(WORDS[(i * 7 + at) % 65] for at in range(words))]
            writer.writerow((" ".join(some), label))
    return path


@pytest.fixture(scope="module")
def usual(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("advice")
    config = make_config(bert, table(folder / "rows.csv", ["a", "b"] * 120), folder / "store")
    config["train"] = {"learning_rate": 3e-5, "num_train_epochs": 4, "per_device_train_batch_size": 8}
    return config


def said(config: dict[str, Any], *overrides: str, parameters: int = 100_000_000) -> list[str]:
    """The advice for a model of that size."""
    resolved, context = plan(load(config, overrides))
    costs = estimate(resolved, context)
    assert costs is not None
    return advice(resolved, context, replace(costs, trainable=parameters))


@pytest.mark.parametrize(
    ("overrides", "advised"),
    [
        ([], None),
        (["train.learning_rate=3e-4"], None),
        (["train.learning_rate=3e-6"], None),
        (["train.learning_rate=1e-3"], "train.learning_rate: 0.001 is 33.3 times the default"),
        (["train.learning_rate=1e-6"], "train.learning_rate: 1e-06 is 30 times lower than the default"),
        (["peft=lora", "train.learning_rate=1e-3"], None),
        (["peft=lora", "train.learning_rate=1e-5"], "for an adapter, 0.0003; try that"),
        (["train.optim=sgd", "train.learning_rate=0.1"], None),
        (["train.num_train_epochs=1"], "train.num_train_epochs: 1 are only 18 steps with these rows"),
        (["train.num_train_epochs=1", "train.max_steps=3"], None),
        (["train.num_train_epochs=30"], "train.num_train_epochs: 30 repeat each row that often"),
        (["train.num_train_epochs=30", "eval.best=accuracy"], None),
    ],
)
def test_rates_and_epochs(usual: dict[str, Any], overrides: list[str], advised: str | None) -> None:
    found = said(usual, *overrides)
    assert len(found) == (advised is not None) and all(str(advised) in line for line in found)


def test_a_small_model_learns_at_higher_rates(usual: dict[str, Any]) -> None:
    assert not said(usual, "train.learning_rate=2e-3", parameters=2_000_000)


def test_imbalance_without_weights(usual: dict[str, Any], tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.csv", ["a"] * 230 + ["b"] * 10)
    found = said(usual, f"data.train={rows}")
    assert len(found) == 1 and "'a' has 138 training rows, 'b' 6; class_weights: balanced" in found[0]
    assert not said(usual, f"data.train={rows}", "methods.class_weights=balanced")


def test_a_default_length_that_truncates_many_rows(
    usual: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(tmp_path / "rows.csv", ["a", "b"] * 120, words=80)
    (tmp_path / "run.yaml").write_text(json.dumps(usual))
    words = [str(tmp_path / "run.yaml"), f"data.train={rows}"]
    assert main(["plan", *words, "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["advice"]
    assert line.startswith("data.max_length: the default truncates 100 % of the training rows at 64 tokens")
    assert main(["plan", *words]) == 0
    assert f"advice: {line}" in capsys.readouterr().out
    assert not said(usual, f"data.train={rows}", "data.max_length=32")


@pytest.mark.parametrize("path", sorted(DEPLOYMENTS.glob("[ep]*s/*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_have_usual_rates_and_epochs(path: Path) -> None:
    for run in runs_of(path):
        config, _ = resolve(run.config, {})
        parameters = 22_700_000 if config.model.name.startswith("package:") else 4_000_000  # others are made for tests
        costs = Estimate(90, 1, 1, {}, 1, parameters, None, "cpu", 1, "highest")
        assert not [*_rate(config, costs), *_epochs(config, costs)]
