"""A package of a user's own brings a task with a column of its own, its loss, and a training method; nothing of ours
is touched."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from safetensors.torch import load_file

from flows.api import plan
from tasks.config import ConfigError, load
from tasks.config.errors import Interrupted
from tasks.objectives import objective_of
from tasks.objectives.presets import resolve
from tasks.objectives.schema import json_schema
from tasks.results.finetuned import FineTuned
from tasks.training.trainer import FinetuneTrainer
from tests.flow.scenes import executed
from tests.tiny import TOPICS, make_bert, make_config, make_decoder


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose label is right where they count, and always `fruit` where they do not."""
    path = tmp_path_factory.mktemp("weighted") / "rows.jsonl"
    rows = [{"text": f"bal {TOPICS[at % 3]} gen cir dos {at}", "label": TOPICS[at % 3] if at % 2 else "fruit",
             "counts": float(at % 2)} for at in range(96)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(bert: Path, weighted: Path, store: Path, **more: Any) -> dict[str, Any]:
    return make_config(
        bert, weighted, store, task="weighted-classification", data__columns={"importance": "counts"},
        data__split={"validation": 0, "test": 0}, train__max_steps=6, **more,
    )  # fmt: skip


def weights(done: FineTuned) -> dict[str, torch.Tensor]:
    return load_file(done._open("s09_train").path("model.safetensors"))


def test_a_task_with_a_column_and_a_loss_of_its_own(bert: Path, weighted: Path, tmp_path: Path) -> None:
    done = executed(config_of(bert, weighted, tmp_path / "store"))
    assert done.rows("train")["importance"].to_pylist()[:4] == [0.0, 1.0, 0.0, 1.0]
    code = done.artifacts["s09_train"].key
    flat = config_of(bert, weighted, tmp_path / "store")
    flat["data"]["columns"]["importance"] = "same"
    rows = [json.loads(line) | {"same": 1.0} for line in weighted.read_text().splitlines()]
    other = tmp_path / "flat.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flat["data"]["train"] = str(other)
    unweighted = executed(flat)
    assert unweighted.artifacts["s09_train"].key != code
    ours, theirs = weights(done), weights(unweighted)
    assert any(not ours[name].equal(theirs[name]) for name in ours)


def test_its_column_is_a_field_like_ours(bert: Path, weighted: Path, tmp_path: Path) -> None:
    config = config_of(bert, weighted, tmp_path / "store")
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(config)
    wrong = config_of(bert, weighted, tmp_path / "store")
    wrong["data"]["columns"] = {"importnace": "counts"}
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(wrong)
    with pytest.raises(ConfigError, match=r"data\.columns\.importnace: unknown name"):
        load(wrong)
    wrong["data"]["columns"] = {"importance": "counts"}
    wrong["task"] = "text-classification"
    loaded = load(wrong)
    with pytest.raises(ConfigError, match=r"text-classification has no such column.*weighted-classification"):
        resolve(loaded.config, loaded.origin)


def test_its_code_is_in_the_keys_of_the_stages_that_run_it(
    bert: Path, weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(bert, weighted, tmp_path / "store", methods={"pull": 0.5})
    before = {stage: ref.key for stage, ref in plan(load(config))[1].refs.items()}
    from tasks.artifacts.keys import code

    foreign = code._foreign

    def edited(name: str) -> Any:
        found = foreign(name)
        return found and code.Source(f"{found.text}\nEDITED = True\n", found.is_package) if name == touched else found

    monkeypatch.setattr(code, "_foreign", edited)
    for touched, changed in {
        "their_task.encode": {"s05_tokenize"}, "their_task.pull": {"s09_train"}, "their_task.loss": {"s09_train"},
    }.items():  # fmt: skip
        after = {stage: ref.key for stage, ref in plan(load(config))[1].refs.items()}
        assert changed <= {stage for stage in before if before[stage] != after[stage]}, touched
        assert all(before[stage] == after[stage] for stage in ("s03_base", "s04_prepare", "s06_model")), touched


def test_its_method_changes_the_training_and_resumes_to_the_same_bits(
    bert: Path, weighted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = executed(config_of(bert, weighted, tmp_path / "plain"))
    pulled = executed(config_of(bert, weighted, tmp_path / "whole", methods={"pull": {"strength": 0.5}}))
    assert any(not weights(plain)[name].equal(weights(pulled)[name]) for name in weights(plain))

    step, steps = FinetuneTrainer.training_step, []

    def stopped(self: Any, *arguments: Any, **named: Any) -> Any:
        steps.append(self.state.global_step + 1)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **named)

    monkeypatch.setattr(FinetuneTrainer, "training_step", stopped)
    config = config_of(bert, weighted, tmp_path / "stopped", methods={"pull": {"strength": 0.5}})
    with pytest.raises(Interrupted):
        executed(config)
    resumed = executed(config)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert all(weights(pulled)[name].equal(weights(resumed)[name]) for name in weights(pulled))


def test_its_phase_holds(bert: Path, weighted: Path, tmp_path: Path) -> None:
    """Up to step 3 the head alone is trained."""
    config = config_of(bert, weighted, tmp_path / "store", methods={"pull": {"strength": 0, "body_from": 9}})
    found, start = weights(executed(config)), load_file(bert / "model.safetensors")
    moved = {name for name in found if name.removeprefix("bert.") in start
             and not found[name].equal(start[name.removeprefix("bert.")])}  # fmt: skip
    assert not moved and "classifier.weight" in found


def test_a_method_that_leaves_nothing_to_train_is_named(weighted: Path, tmp_path: Path) -> None:
    """A language model has no classifier."""
    config = make_config(make_decoder(tmp_path / "m"), weighted, tmp_path / "store", task="language-generation",
                         methods={"pull": {"body_from": 1}})  # fmt: skip
    with pytest.raises(ConfigError, match="methods: pull leave no trainable parameter at step 1"):
        executed(config)


def test_names_are_checked(bert: Path, weighted: Path, tmp_path: Path) -> None:
    assert objective_of("weighted-classification").roles[-1].name == "importance"
    for given, said in {
        "pul": r"methods\.pul: there is no such method; valid are .*did you mean 'pull'",
        "pull": r"methods\.pull\.strenght: unknown name; did you mean strength",
    }.items():
        loaded = load(config_of(bert, weighted, tmp_path, methods={given: {"strenght": 1}}))
        with pytest.raises(ConfigError, match=said):
            resolve(loaded.config, loaded.origin)


def test_methods_are_refused_for_tasks_they_are_not_for(bert: Path, weighted: Path, tmp_path: Path) -> None:
    """Their method by its own check, ours for their task, which has a loss of its own."""
    for task, method, said in (
        ("token-detection", "pull", "methods.pull: token-detection trains two models; leave it out"),
        (
            "weighted-classification",
            "class_weights",
            "methods.class_weights: is for .* with the model's own loss, not for weighted-classification",
        ),
    ):
        loaded = load(make_config(bert, weighted, tmp_path, task=task, methods=method))
        with pytest.raises(ConfigError, match=said):
            resolve(loaded.config, loaded.origin)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["weighted-classification", "language-generation"])
def test_a_penalty_counts_once_a_step(task: str, weighted: Path, tmp_path: Path) -> None:
    """4 batches of 4 rows, accumulated, are 1 batch of 16, whether losses are averaged or added up over them."""
    model = make_decoder(tmp_path / "m", 0.0) if task == "language-generation" else make_bert(tmp_path / "m", 0.0)
    found = {}
    for size, windows in ((16, 1), (4, 4)):
        more = {"columns": {"importance": "same"}} if task == "weighted-classification" else {"merge": "none"}
        rows = tmp_path / "rows.jsonl"
        lines = (json.loads(line) | {"same": 1.0} for line in weighted.read_text().splitlines())
        rows.write_text("".join(json.dumps(row) + "\n" for row in lines))
        methods = {"pull": {"strength": 5, "body_from": 0}}
        config = make_config(model, rows, tmp_path / "store", task=task, methods=methods)
        config["data"]["split"] = {"validation": 0, "test": 0}
        config["data"] |= more
        config["train"] |= {
            "per_device_train_batch_size": size, "gradient_accumulation_steps": windows, "max_steps": 4, "optim": "sgd",
            "learning_rate": 0.1, "train_sampling_strategy": "sequential", "float32_matmul_precision": "highest",
            "eval_strategy": "no", "warmup_steps": 0,
        }  # fmt: skip
        found[windows] = weights(executed(config))
    for name, tensor in found[1].items():
        assert torch.allclose(found[4][name], tensor, rtol=1e-4, atol=1e-6), name
