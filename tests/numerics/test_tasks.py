"""Each task: the weights of plain Hugging Face code, accumulation that is none, and a model that says the same once it
is saved.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tasks.config import RunConfig
from tasks.data.tables.arrow_file import open_table
from tasks.execution.execute import execute
from tasks.results.finetuned import FineTuned
from tests.kill.warm import warm_parent
from tests.tiny import TASKS, make_task

pytestmark = pytest.mark.slow
ARGUMENTS = {
    "learning_rate": 2e-3, "num_train_epochs": 2, "per_device_train_batch_size": 8, "weight_decay": 0.01,
    "lr_scheduler_type": "linear", "warmup_steps": 0, "train_sampling_strategy": "random", "eval_strategy": "no",
    "save_strategy": "no", "logging_steps": 1, "gradient_accumulation_steps": 1, "max_grad_norm": 1.0,
    "optim": "adamw_torch", "bf16": False,
}  # fmt: skip


# Their losses and gradients are held against TRL's: tests/training.
PREFERENCES = ("reward", "dpo", "kto", "grpo", "ppo")


def run(config: dict[str, Any]) -> FineTuned:
    from flows.pipeline import pipeline

    return execute(RunConfig.model_validate(config), pipeline)


def weights(done: FineTuned) -> dict[str, torch.Tensor]:
    return load_file(done._open("s09_train").path("model.safetensors"))


@pytest.mark.parametrize("name", [name for name in TASKS if name not in PREFERENCES])
def test_equal_to_plain_code(name: str, tmp_path: Path) -> None:
    from tasks.models.device import matmul_precision

    config = make_task(name, tmp_path)
    config["data"]["split"] = {"validation": 0.0}
    if name == "question-answering":
        config["data"]["stride"] = 8
    if name == "language-generation":
        config["data"]["overlong"] = "truncate"
    config["train"] = ARGUMENTS | {"torch_num_threads": 1}
    settings = {
        "task": name, "model": config["model"]["name"], "rows": config["data"]["train"], "arguments": ARGUMENTS,
        "output": str(tmp_path / "plain"), "cache": str(tmp_path / "cache"), "data": {"stride": 8},
        "float32_matmul_precision": matmul_precision(),
    }  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    warm_parent().play("tests.numerics.plain_tasks:main", path=str(tmp_path / "settings.json")).result  # noqa: B018
    ours, theirs = weights(run(config)), load_file(tmp_path / "plain" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not ours[key].equal(theirs[key])] == []


@pytest.mark.parametrize("name", TASKS)
def test_four_times_four_is_sixteen(name: str, tmp_path: Path) -> None:
    found = []
    for batch, windows in ((16, 1), (4, 4)):
        config = make_task(name, tmp_path, rows=80, dropout=0.0)
        config["data"]["split"] = {"validation": 0.0}
        if name == "kto":  # its own loss estimates a divergence from each micro-batch
            config["preference"] = {"loss_type": "apo_zero_unpaired"}
        if name == "question-answering":  # its models score padding too: rows must be of one length
            rows = [json.loads(line) for line in Path(config["data"]["train"]).read_text().splitlines()]
            for row in rows:
                row["context"] = " ".join([*row["context"].split(), *["bal"] * 20][:24])
            Path(config["data"]["train"]).write_text("\n".join(map(json.dumps, rows)))
        config["train"] = ARGUMENTS | {
            "per_device_train_batch_size": batch, "gradient_accumulation_steps": windows, "optim": "sgd",
            "learning_rate": 0.05, "max_grad_norm": 0.1, "torch_num_threads": 1, "max_steps": 4,
            "float32_matmul_precision": "highest",
        }  # fmt: skip
        done = run(config)
        found.append((weights(done), [(log["loss"], log["grad_norm"]) for log in done.history if "loss" in log]))
    (one, losses), (four, losses4) = found
    for (loss, norm), (loss4, norm4) in zip(losses, losses4, strict=True):
        assert (loss4, norm4) == (pytest.approx(loss, rel=1e-4), pytest.approx(norm, rel=1e-3))
    for key, tensor in one.items():
        assert torch.allclose(four[key], tensor, rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize("peft", ["none", "lora"])
@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("dpo", "kto", "grpo", "ppo")])
def test_saved_and_loaded_elsewhere_it_says_the_same(name: str, peft: str, tmp_path: Path) -> None:
    config = make_task(name, tmp_path) | {"output_dir": str(tmp_path / "model")}
    config["peft"] = peft
    config["train"]["bf16"] = False  # its rounding tells a merged adapter from one beside its weights
    done = run(config)
    rows = tmp_path / "test.jsonl"
    table = done.rows("test", "s04_prepare")
    lines = Path(config["data"]["train"]).read_text().splitlines()
    rows.write_text("\n".join(lines[row - 1] for row in table["__row"].to_pylist()) + "\n")
    out = tmp_path / "said.arrow"
    words = ["evaluate", str(tmp_path / "model"), str(rows), "-o", str(out), "--json"]
    said = warm_parent().play("tests.kill.scenes:say", words=words).result["metrics"]
    labelled = {key.removeprefix("test_"): value for key, value in done.metrics.items() if key.startswith("test_")}
    assert said == pytest.approx({key: labelled[key] for key in said}, rel=1e-6)
    before = open_table(done._open("s10_evaluate").path("test.predictions.arrow"))
    after = open_table(out)
    if "prediction" in before.column_names:
        assert after["prediction"].to_pylist() == before["prediction"].to_pylist()
    else:
        column = "chosen_reward" if name == "reward" else "nll"
        assert after[column].to_pylist() == pytest.approx(before[column].to_pylist(), rel=1e-6)
