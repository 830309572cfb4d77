"""A run of the pipeline ends in the very bits a plain Hugging Face script ends in."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flows import finetune
from tests.kill.warm import warm_parent
from tests.tiny import make_config, make_rows

pytestmark = pytest.mark.slow

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "target_modules": "all-linear"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "grouped by length": ({"train_sampling_strategy": "group_by_length"}, None),
    "random order, evaluated": ({"eval_strategy": "epoch"}, None),
    "accumulated, evaluated by steps": (
        {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 3}, None,
    ),
    "bf16": ({"bf16": True}, None),
    "LoRA": ({"train_sampling_strategy": "group_by_length", "eval_strategy": "epoch"}, LORA),
}  # fmt: skip
COMMON = {
    "learning_rate": 2e-3,
    "num_train_epochs": 2.0,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 64,
    "gradient_accumulation_steps": 1,
    "weight_decay": 0.01,
    "warmup_steps": 0.06,
    "lr_scheduler_type": "linear",
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
    "logging_steps": 2,
    "eval_strategy": "no",
    "train_sampling_strategy": "random",
    "bf16": False,  # what a GPU would be given
}


@pytest.mark.parametrize("case", CASES)
def test_equal_to_a_plain_script(case: str, prefect_api: str, bert: Path, tmp_path: Path) -> None:
    arguments, lora = CASES[case]
    files = {
        "train": str(make_rows(tmp_path / "train.csv", 90)),
        "validation": str(make_rows(tmp_path / "validation.csv", 30, seed=5)),
    }
    train = COMMON | arguments
    # The script must mend transformers' division by the accumulation steps too; test_accumulation.py says why.
    plain = run_plain(tmp_path, bert, files, train, lora, divides_by_windows="gradient_accumulation_steps" in arguments)

    config = make_config(
        bert, Path(files["train"]), tmp_path / "store", data__validation=files["validation"], data__split={}
    )
    config["train"] = {**train, "torch_num_threads": 1}
    if lora:
        config["peft"] = {"method": "lora", **lora}
    done = finetune(config)
    done_weights = done.artifacts["s09_train"]

    name = "adapter_model.safetensors" if lora else "model.safetensors"
    ours = load_file(done._open("s09_train").path(name))
    assert name in done_weights.members
    theirs = load_file(plain / name)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not ours[key].equal(theirs[key])] == []
    history = json.loads((plain / "history.json").read_text())
    assert logged(done.history, "loss") == logged(history, "loss")
    # Evaluation groups rows by length (less padding), which moves the last bits of its mean.
    for mine, other in zip(logged(done.history, "eval_loss"), logged(history, "eval_loss"), strict=True):
        assert mine == (other[0], pytest.approx(other[1], rel=1e-5))


def run_plain(
    folder: Path, model: Path, files: dict[str, str], arguments: dict[str, Any], lora: dict[str, Any] | None,
    **more: Any,
) -> Path:  # fmt: skip
    """Run the plain script in a process of its own; return the folder with its weights."""
    from tasks.models.device import matmul_precision

    output = folder / "plain"
    settings = {
        "model": str(model), "files": files, "cache": str(folder / "cache"), "output": str(output), "seed": 42,
        "threads": 1, "float32_matmul_precision": matmul_precision(), "max_length": 256, "arguments": arguments,
        "lora": lora, **more,
    }  # fmt: skip
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    warm_parent().play("tests.numerics.plain:main", path=str(path)).result  # noqa: B018
    return output


def logged(history: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) of what was logged under a name."""
    return [(entry["step"], entry[name]) for entry in history if name in entry]
