"""What a plan states: memory by sizes, and from a sample where data are too large to tokenize."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.api import plan
from flows.cli import main
from tasks import s05_tokenize
from tasks.artifacts.store import Store
from tasks.config import RunConfig, load
from tasks.execution import sample
from tasks.execution.estimate import Estimate, estimate
from tasks.execution.memory import Batch, activations, largest_batch, logits
from tasks.models.count import Counts
from tests.tiny import make_config, make_decoder, make_rows, make_task


def costs(config: dict[str, Any]) -> Estimate:
    found = estimate(*plan(load(config)))
    assert found is not None
    return found


@pytest.mark.parametrize("task", ["text-classification", "language-generation"])
def test_from_all_rows_it_is_exact_and_from_some_near(
    task: str, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert if task == "text-classification" else make_decoder(tmp_path / "model")
    config = make_config(model, make_rows(tmp_path / "rows.csv", 600), tmp_path / "store", task=task)
    config["data"]["max_length"], config["train"]["gradient_accumulation_steps"] = 48, 1
    exact = costs(config)
    monkeypatch.setattr(s05_tokenize, "ALL_IN_A_PLAN", 100)
    monkeypatch.setattr("tasks.artifacts.store.Store.building", _nothing_of("s05_tokenize", Store.building))
    assert costs(config) == dataclasses.replace(exact, sampled=(len_of(config), len_of(config)))
    monkeypatch.setattr(sample, "SAMPLE", 90)
    near = costs(config)
    assert near.sampled is not None and near.sampled[0] < 100
    assert near.steps == pytest.approx(exact.steps, rel=0.15)
    assert near.tokens == pytest.approx(exact.tokens, rel=0.15)


def pairs(**more: Any) -> pa.Table:
    """Three rows: the longest text has 9 tokens, answers have 1 to 3."""
    lengths = {"chosen": ((5, 3), (9, 1), (4, 2)), "rejected": ((6, 2), (3, 2), (7, 3))}
    columns = {}
    for side, rows in lengths.items():
        columns[f"{side}_input_ids"] = [[7] * length for length, _ in rows]
        columns[f"{side}_completion_mask"] = [[0] * (length - answer) + [1] * answer for length, answer in rows]
    return pa.table(columns | more)


def of(task: str, **more: Any) -> RunConfig:
    return load({"model": "m", "data": {"train": "d", "mlm_probability": 0.2}, "task": task, **more}).config


LABELLED = {"methods": {"labelled_logits": True}}
LABELS = pa.table({"input_ids": [[1] * 4, [1] * 8, [1] * 6], "labels": [[-100] * 3 + [1], [-100] * 8, [2, 3] * 3]})


@pytest.mark.parametrize(
    ("tokens", "size", "config", "expected"),
    [
        (pairs(), 2, of("dpo"), Batch(4, 9, 5 + 5)),  # both answers of the two rows with the most tokens in answers
        (pairs(), 8, of("dpo"), Batch(16, 9, 13)),  # more rows than there are
        (pairs(), 2, of("reward"), Batch(4, 9, 10)),
        (pairs(desirable=[1, 0, 1]), 2, of("kto"), Batch(2, 9, 3 + 2)),
        (pa.concat_tables([pairs(), pairs()]), 1, of("dpo"), Batch(2, 9, 5)),
        (pairs().slice(2), 1, of("dpo"), Batch(2, 7, 5)),
        (LABELS, 2, of("sft"), Batch(2, 8, 16)),
        (LABELS, 2, of("sft", **LABELLED), Batch(2, 8, 1 + 6)),
        (LABELS.slice(1, 1), 1, of("sft", **LABELLED), Batch(1, 8, 0)),
        (LABELS.select(["input_ids"]), 2, of("language-generation", **LABELLED), Batch(2, 8, 16)),
        (LABELS.select(["input_ids"]), 5, of("language-modeling", **LABELLED), Batch(5, 8, 8)),
    ],
)  # fmt: skip
def test_the_largest_batch(tokens: pa.Table, size: int, config: RunConfig, expected: Batch) -> None:
    assert largest_batch(tokens, size, config) == expected


def test_activations() -> None:
    """By hand: 2 rows of 10 tokens, 3 layers of width 8 with 2 heads; 4 tokens have 100 logits."""
    base, counts = {"hidden_size": 8, "num_layers": 3, "num_heads": 2}, Counts(0, 0, 100, dropped=5)
    plan: dict[str, Any] = {"device": "cpu", "arguments": {}}
    values = 2 * 10 * 8 * (34 + 5 * 2 * 10 / 8) / 2 * 3
    assert activations(Batch(2, 10, 4), plan, base, counts) == values * 4 + 20 * 5 * 8
    assert activations(Batch(2, 10, 4), plan, base, counts, dropout=False) == values * 4
    assert activations(Batch(2, 10, 4), plan | {"device": "cuda"}, base, counts) == values * 4 + 20 * 5 * 5
    plan["arguments"] = {"bf16": True}
    assert activations(Batch(2, 10, 4), plan, base, counts, dropout=False) == values * 2 + 20 * 5 * 2
    assert logits(Batch(2, 10, 4), base, counts) == 4 * 100 * 4 * 3
    assert logits(Batch(2, 10, 4), base, counts, rewarded=True) == 4 * 100 * 4 * 5
    for unknown in ("hidden_size", "num_layers"):
        assert not logits(Batch(2, 10, 4), base | {unknown: None}, counts)
        assert not activations(Batch(2, 10, 4), plan, base | {unknown: None}, counts)


@pytest.mark.parametrize(("precision", "weights"), [(False, 4), (True, 4), (True, 2)])
def test_with_gradient_checkpointing_one_layer_s_activations_and_all_inputs_are_kept(
    precision: bool, weights: int
) -> None:
    base, counts = {"hidden_size": 8, "num_layers": 3, "num_heads": 2}, Counts(0, 0, 100, dropped=6)
    plan = {"device": "cpu", "arguments": {"gradient_checkpointing": True, "bf16": precision}}
    inputs, layer = 2 * 10 * 8 * 3 * weights, 2 * 10 * 8 * (34 + 5 * 2 * 10 / 8) / 2 * (2 if precision else 4)
    adapter = 20 * 6 * 8 / 3
    assert activations(Batch(2, 10, 4), plan, base, counts, precision=weights) == inputs + 2 * layer + adapter
    without = {**plan, "arguments": {"bf16": precision}}
    assert activations(Batch(2, 10, 4), without, base, counts) == 3 * (layer + adapter)


def test_a_plan_of_pairs_counts_their_answers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Batch] = []

    def look(batch: Batch, *rest: Any) -> int:
        found.append(batch)
        return activations(batch, *rest)

    monkeypatch.setattr("tasks.execution.estimate.activations", look)
    config = make_task("dpo", tmp_path, rows=20)
    costs(config)
    monkeypatch.setattr(s05_tokenize, "ALL_IN_A_PLAN", 10)
    costs(config)
    assert found[0] == found[1] and found[0].rows == 16 and 0 < found[0].scored < found[0].rows * found[0].width / 4


def test_the_parts_of_memory_add_up(bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs_of = partial(make_config, bert, rows, tmp_path / "store")
    full, lora = (costs(costs_of(peft__method=each)) for each in ("none", "lora"))
    for each in (full, lora):
        assert each.memory == sum(each.memory_parts.values())
        assert each.memory_parts["gradients"] * 2 == each.memory_parts["optimizer"] == each.trainable * 8
        assert not each.memory_parts["reference_model"] and not each.memory_parts["reward_model"]
    assert full.memory_parts["weights"] == lora.memory_parts["weights"] == full.trainable * 4
    config = costs_of() | {"train": costs_of()["train"] | {"gradient_checkpointing": True}}
    kept = costs(config).memory_parts["activations"] - full.memory_parts["activations"]
    assert kept > 0 and kept % (2 * 32 * 4) == 0, "inputs of 2 layers of width 32; one with its gradients is two"
    (tmp_path / "run.json").write_text(json.dumps(config))
    assert main(["plan", str(tmp_path / "run.json")]) == 0
    line = next(each for each in capsys.readouterr().out.splitlines() if each.startswith("memory: "))
    assert line.startswith("memory: process 730 MB, weights 1 MB, gradients") and "reward" not in line


@pytest.mark.parametrize(
    ("task", "rl", "peft", "copied"),
    [
        ("grpo", {"beta": 0.0}, "none", False),
        ("grpo", {"beta": 0.1}, "none", True),
        ("grpo", {"beta": 0.1}, "lora", False),
        ("ppo", {}, "none", True),
        ("ppo", {"kl_coef": 0.0}, "none", False),
    ],
)
def test_models_beside_the_policy(task: str, rl: dict[str, Any], peft: str, copied: bool, tmp_path: Path) -> None:
    """A reward model has the policy's body and, in place of the vocabulary's output layer, one row of weights."""
    config = make_task(task, tmp_path)
    policy = Path(config["model"]["name"])
    sizes = json.loads((policy / "config.json").read_text())
    judge = make_judge(policy, tmp_path / "judge")
    config |= {"peft": {"method": peft}, "rl": config["rl"] | rl}
    alone, beside = costs(config).memory_parts, costs(config | {"rl": config["rl"] | {"reward_model": str(judge)}})
    assert alone["reward_model"] == 0 and alone["reference_model"] == (alone["weights"] if copied else 0)
    tied = 0 if sizes["tie_word_embeddings"] else sizes["vocab_size"]
    rewarding = alone["weights"] // 4 + (1 - tied) * sizes["hidden_size"]
    assert dict(beside.memory_parts) == alone | {"reward_model": rewarding * 4}


def make_judge(policy: Path, folder: Path) -> Path:
    """A reward model with the policy's body and tokenizer."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
    model.save_pretrained(folder)
    for path in [*policy.glob("tok*"), *policy.glob("*.jinja")]:
        shutil.copy(path, folder)
    return folder


def _nothing_of(stage: str, building: Any) -> Any:
    def refuse(self: Store, name: str, key: str) -> Any:
        assert not name.startswith(stage), "a plan tokenizes 600 rows"
        return building(self, name, key)

    return refuse


def len_of(config: dict[str, Any]) -> int:
    """Rows of the training split."""
    return plan(load(config))[1].rows("s04_prepare").num_rows
