"""`train`: training, with the names of transformers.TrainingArguments.

The fields below are those most often set; every other field of the installed TrainingArguments is accepted under its
own name and checked against `arguments.catalogue()`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError

from tasks.config.arguments import catalogue, check
from tasks.config.json_types import JsonObject
from tasks.config.reading.old_names import DROPPED, RENAMED, modernise, old_name_problem
from tasks.config.sections.open_section import OpenSection
from tasks.config.sections.section import (
    NO_BOOL,
    Count,
    NotNegative,
    PathText,
    Positive,
    Share,
    WholeNotNegative,
    refuse_credentials,
)

_HUB = "nothing is pushed to the hub during a run; push the folder in output_dir afterwards"
_STAGE = "training and evaluation are separate stages; remove it"

# Fields that this project sets: why, and what to set instead.
RESERVED: Mapping[str, str] = {
    "output_dir": "checkpoints are kept in the store; set output_dir at the top level",
    "seed": "all stages use one seed; set seed at the top level",
    "load_best_model_at_end": "set eval.best: <metric>",
    "metric_for_best_model": "set eval.best: <metric>",
    "greater_is_better": "set eval.greater_is_better; the built-in metrics do not need it",
    "ignore_data_skip": "a resumed run must see the same rows as an uninterrupted one; remove it",
    "dataloader_persistent_workers": "random numbers of persistent workers cannot be reproduced after a resume; "
    "remove it",
    "auto_find_batch_size": "results depend on the batch size; set train.per_device_train_batch_size",
    "batch_eval_metrics": "metrics are computed over all rows at once; remove it",
    "enable_jit_checkpoint": "a checkpoint is always saved when a run is stopped; remove it",
    "do_train": _STAGE,
    "do_eval": _STAGE,
    "do_predict": _STAGE,
    "local_rank": "the launcher sets it; remove it",
    "parallelism_config": "it is a Python object, which a config file cannot contain; remove it",
    **dict.fromkeys(
        (
            "push_to_hub",
            "hub_token",
            "hub_model_id",
            "hub_strategy",
            "hub_private_repo",
            "hub_always_push",
            "hub_revision",
        ),
        _HUB,
    ),
}


# Options of transformers' example scripts that are not TrainingArguments, and their equivalents here.
SCRIPTS: Mapping[str, str] = {
    "max_eval_samples": "set eval.max_samples",
    "max_predict_samples": "set eval.max_samples, which applies to test rows too",
    "max_seq_length": "set data.max_length",
    "max_source_length": "set data.max_length",
    "train_file": "set data.train",
    "validation_file": "set data.validation",
    "test_file": "set data.test",
}


def _false_is_no(value: object) -> object:
    # YAML 1.1 parsers, such as Prefect's, turn `save_strategy: no` into False.
    return "no" if value is False else value


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} given; a run that was stopped resumes by itself when it is run again; "
                         "to start from a checkpoint of another run, give its folder or name")  # fmt: skip
    return value


def _in_catalogue(value: str | None, info: ValidationInfo) -> str | None:
    return check(info.field_name or "", value) if value is not None else None


Choice = Annotated[str | None, AfterValidator(_in_catalogue)]


class TrainConfig(OpenSection):
    """Training. An omitted field has the task's default: `finetune plan` shows it and its origin."""

    learning_rate: NotNegative | None = Field(default=None, description="Peak learning rate.")
    per_device_train_batch_size: Count | None = Field(default=None, description="Rows per batch on one device.")
    per_device_eval_batch_size: Count | None = Field(
        default=None, description="Rows per batch on one device in evaluation."
    )
    gradient_accumulation_steps: Count | None = Field(
        default=None, description="Batches accumulated for each update of the weights."
    )
    num_train_epochs: Positive | None = Field(default=None, description="Passes over the training rows; may be 0.5.")
    max_steps: Annotated[int, Field(ge=-1), NO_BOOL] | None = Field(
        default=None, description="Total updates, instead of num_train_epochs. -1: by epochs."
    )
    weight_decay: NotNegative | None = Field(default=None, description="Weight decay of AdamW.")
    warmup_steps: NotNegative | None = Field(
        default=None, description="Updates during which the learning rate rises; below 1, a share of all updates."
    )
    lr_scheduler_type: Choice = Field(default=None, description="Schedule of the learning rate after the warm-up.")
    max_grad_norm: NotNegative | None = Field(
        default=None, description="Maximum norm to which gradients are clipped; 0: no clipping."
    )
    optim: Choice = Field(default=None, description="The optimizer.")
    label_smoothing_factor: Share | None = Field(
        default=None, description="Share of each label spread over the other classes, in [0, 1)."
    )
    neftune_noise_alpha: Positive | None = Field(
        default=None,
        description="Noise added to the embeddings in training (NEFTune), 5 to 15 in its paper. Omit: none.",
    )
    bf16: bool | None = Field(
        default=None,
        description="Compute in bfloat16; weights stay float32. Omit: on a GPU that can, unless fp16 is given.",
    )
    fp16: bool | None = Field(
        default=None,
        description="Compute in float16 with loss scaling; weights stay float32. Omit: false.",
    )
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] | None = Field(
        default=None, description="Order of the rows. group_by_length needs less padding and trains faster."
    )
    gradient_checkpointing: bool | None = Field(
        default=None,
        description="Recompute activations instead of storing them: less memory, 30 % slower. Omit: false.",
    )
    eval_strategy: Annotated[Literal["no", "steps", "epoch"] | None, BeforeValidator(_false_is_no)] = Field(
        default=None, description="When to evaluate."
    )
    eval_steps: Positive | None = Field(
        default=None,
        description="Updates between evaluations (eval_strategy: steps); below 1 a share of all updates. Omit: none.",
    )
    logging_steps: Positive | None = Field(
        default=None, description="Updates between logged losses; below 1, a share of all updates."
    )
    save_strategy: Annotated[Literal["no", "steps", "epoch", "best"] | None, BeforeValidator(_false_is_no)] = Field(
        default=None, description="When to save a checkpoint, besides checkpoint.every_minutes. Omit: no."
    )
    save_steps: Positive | None = Field(
        default=None,
        description="Updates between checkpoints (save_strategy: steps); below 1 a share of all updates. Omit: 500.",
    )
    save_total_limit: Count | None = Field(default=None, description="Checkpoints kept at a time. Omit: 1.")
    resume_from_checkpoint: Annotated[PathText, BeforeValidator(_no_truth)] | None = Field(
        default=None,
        min_length=1,
        description="Start from a checkpoint of another training: its folder, a folder of checkpoints (the newest), or "
        "a run of this store; one of transformers' Trainer too. Omit: the base model, or where this run was stopped.",
    )
    dataloader_num_workers: WholeNotNegative | None = Field(
        default=None, description="Processes that prepare batches; 0: the training process itself. Omit: 0."
    )
    full_determinism: bool | None = Field(
        default=None,
        description="On a GPU, use only deterministic kernels, so that an interrupted training resumes exactly; false "
        "allows others. On a CPU training is always deterministic. Omit: true.",
    )
    float32_matmul_precision: Literal["auto", "highest", "high", "medium"] | None = Field(
        default=None,
        description="Precision of float32 matrix products (torch.set_float32_matmul_precision). auto: see the plan.",
    )
    torch_num_threads: Count | None = Field(
        default=None, description="CPU threads; another number may change the last bits of results. Omit: all cores."
    )

    @classmethod
    def with_current_names(cls, given: JsonObject) -> JsonObject:
        modern = modernise(given)
        for notice in modern.notices:
            logging.getLogger(__name__).warning("%s", notice)
        return modern.values

    @classmethod
    def check_field(cls, name: str, value: Any, given: JsonObject) -> object:
        elsewhere = {**RESERVED, **SCRIPTS}
        if reason := f"not allowed: {elsewhere[name]}" if name in elsewhere else old_name_problem(name):
            raise ValueError(reason)
        if name in cls.model_fields:
            return value
        if name not in catalogue():
            raise PydanticKnownError("extra_forbidden")
        return check(name, refuse_credentials(value))

    @classmethod
    def other_names(cls) -> set[str]:
        return {*catalogue(), *RENAMED, *DROPPED} - set(RESERVED)

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, steps: int | None) -> int | None:
        if steps == 0:
            raise ValueError("0 given; valid: a whole number, at least 1, or -1 to train for num_train_epochs")
        return steps

    @model_validator(mode="after")
    def _one_precision(self) -> TrainConfig:
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 are both true; set only one")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Adds the valid names of schedules and optimizers."""
        schema = super().__get_pydantic_json_schema__(core, handler)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name in ("lr_scheduler_type", "optim"):
            properties[name]["anyOf"][0]["enum"] = list(catalogue()[name].choices)
        return schema
