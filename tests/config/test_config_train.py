"""`train`: explicit fields, every other training argument, old names, refused names."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from pydantic import ValidationError

from tasks.config import TrainConfig
from tasks.config.arguments import catalogue, check
from tasks.config.reading.old_names import DROPPED, RENAMED, modernise
from tasks.config.sections.train import RESERVED, SCRIPTS


def test_the_catalogue_knows_names_types_defaults_and_choices() -> None:
    known = catalogue()
    assert len(known) > 100
    assert known["learning_rate"].default == 5e-5
    assert known["optim"].default == "adamw_torch_fused"
    assert "cosine" in known["lr_scheduler_type"].choices
    assert known["save_strategy"].choices == ("no", "steps", "epoch", "best")
    assert known["train_sampling_strategy"].choices[2] == "group_by_length"
    assert "batch size" in known["per_device_train_batch_size"].help


@pytest.mark.parametrize(
    ("name", "value", "checked"),
    [
        ("adam_beta1", "0.8", 0.8),
        ("logging_first_step", "true", True),
        ("eval_accumulation_steps", "4", 4),
        ("eval_accumulation_steps", None, None),
        ("report_to", ["mlflow"], ["mlflow"]),
        ("report_to", "none", "none"),
        ("lr_scheduler_kwargs", {"a": 1}, {"a": 1}),
        ("fsdp", True, True),
        ("deepspeed", "ds.json", "ds.json"),
        ("ddp_backend", "gloo", "gloo"),
    ],
)
def test_arguments_are_checked_and_converted(name: str, value: object, checked: object) -> None:
    assert check(name, value) == checked
    assert (TrainConfig.model_validate({name: value}).model_extra or {})[name] == checked


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("adam_beta1", "x", "'x' given; valid: a number"),
        ("adam_beta1", True, "true given; valid: a number"),
        ("ddp_backend", "gloom", "did you mean gloo?"),
        ("logging_strategy", "step", "did you mean steps?"),
        ("eval_accumulation_steps", 1.5, "valid: a whole number"),
        ("generation_max_length", 0, "0 given; valid: a whole number, at least 1"),
        ("generation_num_beams", -1, "-1 given; valid: a whole number, at least 1"),
    ],
)
def test_wrong_arguments_are_refused(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError) as error:
        check(name, value)
    assert says in str(error.value)


def test_explicit_fields_are_fields_of_the_installed_class_or_ours() -> None:
    assert "resume_from_checkpoint" in TrainConfig.model_fields
    ours = {"float32_matmul_precision", "torch_num_threads"}
    assert set(TrainConfig.model_fields) - set(catalogue()) == ours
    assert set(RESERVED) <= set(catalogue())
    assert not {*RENAMED, *DROPPED} & set(catalogue())
    assert set(RENAMED.values()) <= set(catalogue())


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": -1},
        {"per_device_train_batch_size": 0},
        {"max_steps": 0},
        {"max_steps": True},
        {"warmup_steps": -1},
        {"label_smoothing_factor": 1},
        {"learning_rate": float("nan")},
        {"bf16": True, "fp16": True},
        {"lr_scheduler_type": "cosin"},
        {"lerning_rate": 1},
    ],
)
def test_senseless_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainConfig.model_validate(values)


@pytest.mark.parametrize("name", sorted({**RESERVED, **SCRIPTS}))
def test_what_the_project_sets_itself_is_refused_with_the_mend(name: str) -> None:
    with pytest.raises(ValidationError, match="not allowed: "):
        TrainConfig.model_validate({name: "x"})


def test_all_problems_of_the_section_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        TrainConfig.model_validate({"seed": 1, "weight_decay": -1, "adam_beta1": "x", "nope": 1})
    assert {found["loc"] for found in error.value.errors()} == {
        ("seed",),
        ("weight_decay",),
        ("adam_beta1",),
        ("nope",),
    }


def test_false_for_no() -> None:
    assert TrainConfig.model_validate({"save_strategy": False, "eval_strategy": False}).save_strategy == "no"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch"}),
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"no_cuda": True}, {"use_cpu": True}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"group_by_length": False}, {"train_sampling_strategy": "random"}),
        ({"per_gpu_train_batch_size": 4}, {"per_device_train_batch_size": 4}),
        ({"per_gpu_eval_batch_size": 4}, {"per_device_eval_batch_size": 4}),
        ({"logging_dir": "x", "overwrite_output_dir": True, "save_safetensors": True, "use_mps_device": 1}, {}),
    ],
)
def test_old_names_are_translated(old: dict[str, object], new: dict[str, object]) -> None:
    assert modernise(old).values == new
    assert len(modernise(old).notices) == 1
    assert TrainConfig.model_validate(old) == TrainConfig.model_validate(new)
    assert not modernise(new).notices


def test_a_translation_outside_load_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        TrainConfig.model_validate({"no_cuda": True, "warmup_ratio": 0.1, "logging_dir": "x"})
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"evaluation_strategy": "no", "eval_strategy": "epoch"},
        {"eval_strategy": "epoch", "evaluation_strategy": "no"},
        {"warmup_ratio": 0.1, "warmup_steps": 5},
        {"warmup_ratio": 1.0},
    ],
)
def test_old_and_new_together_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="the old name of"):
        TrainConfig.model_validate(values)


def test_importing_and_checking_is_light() -> None:
    code = (
        "import sys, tasks.config\n"
        "tasks.config.load({'model': 'm', 'data': 'd', 'train': {'adam_beta1': 0.8}})\n"
        "print(sorted({'torch', 'transformers', 'prefect', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert heavy.strip() == "[]"
