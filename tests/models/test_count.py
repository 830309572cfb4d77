"""What a plan says of a model's size, counted without weights, is what training has."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from flows.api import plan
from tasks.artifacts.formats import weights
from tasks.config import Lora, NoPeft, load
from tasks.execution.estimate import estimate, format_bytes
from tasks.models.adapters import attach
from tasks.models.assemble import starting_model
from tasks.models.count import count
from tasks.models.create import create
from tasks.models.heads import heads_of
from tasks.models.load import NEW, Loading
from tasks.objectives import objective_of
from tests.tiny import MAKERS, TASKS, make_config

LABELS = {"text-classification": ["a", "b", "c"], "multi-label": ["a", "b"], "token-classification": ["O", "B-X"]}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: make(folder / name) for name, make in MAKERS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_counts_are_those_of_the_model_and_of_peft(name: str, bases: dict[str, Path], tmp_path: Path) -> None:
    task, _, base = TASKS[name]
    objective, files = objective_of(task), {path.name: path for path in bases[base].iterdir()}
    head = {"labels": LABELS.get(name), "problem_type": "regression" if name == "regression" else None}
    loading = Loading(objective.auto_model, "float32")
    made = create(bases[base], tmp_path, loading, head, 1, 0)
    live = starting_model(tmp_path, files, vars(loading), None)
    size = sum(parameter.numel() for parameter in live.parameters())

    def found(peft: Any) -> Any:
        return count(bases[base], files, vars(loading), head, peft, objective.peft_task_type)

    assert found(NoPeft()).parameters == found(NoPeft()).trainable == made.parameters == size
    assert found(NoPeft()).logits == made.logits
    lora = Lora(method="lora", r=4, target_modules="all-linear")
    adapted = attach(live, lora, objective.peft_task_type, heads_of(live, weights.header(tmp_path / NEW)))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert found(lora).trainable == trained


def test_a_plan_counts_what_a_run_trains(bert: Path, rows: Path, tmp_path: Path) -> None:
    """The base's own head, of another number of classes, is none of it; nor is a run needed to know."""
    base = tmp_path / "base"
    AutoModelForSequenceClassification.from_pretrained(bert, num_labels=40).save_pretrained(base)
    for path in bert.glob("tok*"):
        (base / path.name).write_bytes(path.read_bytes())
    costs = {}
    for peft in ("none", "lora"):
        given = make_config(base, rows, tmp_path / "store", peft__method=peft)
        resolved, context = plan(load(given))
        costs[peft] = estimate(resolved, context)
    wanted = AutoModelForSequenceClassification.from_pretrained(bert, num_labels=3)
    assert costs["none"].trainable == sum(parameter.numel() for parameter in wanted.parameters())
    assert 0 < costs["lora"].trainable < costs["none"].trainable / 2
    assert costs["none"].memory > 400_000_000  # Python and torch are some of it


def test_a_plan_counts_quantized_weights(bert: Path, rows: Path, tmp_path: Path) -> None:
    """2 layers of 4 × 32 × 32 and 2 × 32 × 64 weights, and a pooler; embeddings and the head are not quantized."""
    found = {}
    for bits in ("", "load_in_4bit", "load_in_8bit"):
        given = make_config(bert, rows, tmp_path / "store", peft__method="lora") | {
            "quant": {bits: True} if bits else {}
        }
        found[bits] = estimate(*plan(load(given)))
    memory = {bits: each.memory for bits, each in found.items() if each is not None}
    weights_of = 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32
    assert memory[""] - memory["load_in_8bit"] == weights_of * 3
    assert memory[""] - memory["load_in_4bit"] == weights_of * 4 - int(weights_of * (0.5 + (1 + 4 / 256) / 64))


def test_amounts_are_said_in_a_unit_that_fits() -> None:
    assert [format_bytes(n) for n in (3, 664e6, 4.2e9, 81e9)] == ["1 MB", "664 MB", "4,200 MB", "75.4 GiB"]
