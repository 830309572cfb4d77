"""`train`: training, in the names of transformers.TrainingArguments.

The fields below are those most runs touch; every other field of the installed TrainingArguments is accepted under its
own name and checked against `arguments.catalogue()`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails

from tasks.config.arguments import catalogue, check
from tasks.config.reading.old_names import DROPPED, RENAMED, modernise, old_name_problem
from tasks.config.sections.section import (
    NO_TRUTH,
    Count,
    NotNegative,
    PathText,
    Positive,
    Section,
    Share,
    WholeNotNegative,
    refuse_credentials,
)

_HUB = "nothing is pushed from here; push the folder in output_dir when you have looked at it"
_STAGE = "train and evaluate are stages of their own; leave it out"

# Fields this project sets itself: why, and what to write instead.
OWNED: Mapping[str, str] = {
    "output_dir": "checkpoints live in the store; write output_dir at the top level",
    "seed": "one seed serves all stages; write seed at the top level",
    "load_best_model_at_end": "write eval.best: <metric>",
    "metric_for_best_model": "write eval.best: <metric>",
    "greater_is_better": "the metric in eval.best knows its direction; leave it out",
    "ignore_data_skip": "a resumed run must see the rows an uninterrupted one would; leave it out",
    "dataloader_persistent_workers": "kept workers draw other random numbers each epoch, which no resume can "
    "repeat; leave it out",
    "auto_find_batch_size": "the batch size is part of what a run is; write train.per_device_train_batch_size",
    "batch_eval_metrics": "metrics are computed over all rows at once; leave it out",
    "enable_jit_checkpoint": "a checkpoint is always saved when a run is stopped; leave it out",
    "do_train": _STAGE,
    "do_eval": _STAGE,
    "do_predict": _STAGE,
    "local_rank": "the launcher sets it; leave it out",
    "parallelism_config": "it is a Python object, which no config file can hold; leave it out",
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


# Options of transformers' example scripts that are no TrainingArguments: where they are here.
SCRIPTS: Mapping[str, str] = {
    "max_eval_samples": "write eval.max_samples",
    "max_predict_samples": "write eval.max_samples, which holds for the test rows too",
    "max_seq_length": "write data.max_length",
    "max_source_length": "write data.max_length",
    "train_file": "write data.train",
    "validation_file": "write data.validation",
    "test_file": "write data.test",
}


def _false_is_no(value: object) -> object:
    # Readers of YAML 1.1, Prefect's among them, turn `save_strategy: no` into False.
    return "no" if value is False else value


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} given; a run that was stopped goes on by itself when it is run again; "
                         "to start from a checkpoint of another one, name its folder or run")  # fmt: skip
    return value


def _in_catalogue(value: str | None, info: ValidationInfo) -> str | None:
    return check(info.field_name or "", value) if value is not None else None


Choice = Annotated[str | None, AfterValidator(_in_catalogue)]


class TrainConfig(Section):
    """Training. An omitted field has the task's default: `finetune plan` shows it and says where it comes from."""

    model_config = ConfigDict(extra="allow")

    learning_rate: NotNegative | None = Field(default=None, description="Peak learning rate.")
    per_device_train_batch_size: Count | None = Field(default=None, description="Rows per step on one device.")
    per_device_eval_batch_size: Count | None = Field(default=None, description="Rows per evaluation step.")
    gradient_accumulation_steps: Count | None = Field(
        default=None, description="Batches added up before each update of the weights."
    )
    num_train_epochs: Positive | None = Field(default=None, description="Passes over the training rows; may be 0.5.")
    max_steps: Annotated[int, Field(ge=-1), NO_TRUTH] | None = Field(
        default=None, description="Updates in total, in place of num_train_epochs. -1: by epochs."
    )
    weight_decay: NotNegative | None = Field(default=None, description="Weight decay of AdamW.")
    warmup_steps: NotNegative | None = Field(
        default=None, description="Updates over which the learning rate rises; below 1 it is a share of all updates."
    )
    lr_scheduler_type: Choice = Field(default=None, description="How the learning rate falls after the warm-up.")
    max_grad_norm: NotNegative | None = Field(default=None, description="Gradients are clipped to this norm; 0: never.")
    optim: Choice = Field(default=None, description="The optimizer.")
    label_smoothing_factor: Share | None = Field(
        default=None, description="Share of each label spread over the other classes, in [0, 1)."
    )
    bf16: bool | None = Field(default=None, description="Compute in bfloat16; weights stay float32.")
    fp16: bool | None = Field(default=None, description="Compute in float16 with loss scaling; weights stay float32.")
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] | None = Field(
        default=None, description="Order of the rows. group_by_length pads less and so trains faster."
    )
    gradient_checkpointing: bool | None = Field(
        default=None, description="Recompute activations in place of keeping them: less memory, about 30 % slower."
    )
    eval_strategy: Annotated[Literal["no", "steps", "epoch"] | None, BeforeValidator(_false_is_no)] = Field(
        default=None, description="When to evaluate."
    )
    eval_steps: Positive | None = Field(
        default=None, description="Updates between evaluations; below 1 a share of all updates."
    )
    logging_steps: Positive | None = Field(
        default=None, description="Updates between logged losses; below 1 a share of all updates."
    )
    save_strategy: Annotated[Literal["no", "steps", "epoch", "best"] | None, BeforeValidator(_false_is_no)] = Field(
        default=None, description="When to save a checkpoint, besides checkpoint.every_minutes."
    )
    save_steps: Positive | None = Field(
        default=None, description="Updates between checkpoints; below 1 a share of all updates."
    )
    save_total_limit: Count | None = Field(default=None, description="Checkpoints kept at a time.")
    resume_from_checkpoint: Annotated[PathText, BeforeValidator(_no_truth)] | None = Field(
        default=None,
        min_length=1,
        description="Start from a checkpoint of another training: its folder, a folder of checkpoints (the newest), or "
        "a run of this store; one of transformers' Trainer too. A run that was stopped goes on without this.",
    )
    dataloader_num_workers: WholeNotNegative | None = Field(
        default=None, description="Processes that prepare batches; 0: the training process itself."
    )
    full_determinism: bool | None = Field(
        default=None,
        description="On a GPU, only kernels that give the same bits every time, so that a killed training resumes "
        "exactly; false allows others. On a CPU it always does. Unless false: true.",
    )
    float32_matmul_precision: Literal["auto", "highest", "high", "medium"] = Field(
        default="auto",
        description="Precision of float32 matrix products (torch.set_float32_matmul_precision). auto: see the plan.",
    )
    torch_num_threads: Count | None = Field(
        default=None, description="CPU threads of one training. Another number gives other last bits."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _names(cls, value: Any, handler: ModelWrapValidatorHandler[TrainConfig]) -> TrainConfig:
        value = cls.expand(value)
        if not isinstance(value, Mapping):
            return handler(value)
        modern = modernise(value)
        for notice in modern.notices:
            logging.getLogger(__name__).warning("%s", notice)
        good, problems = _checked(modern.values, set(cls.model_fields))
        try:
            made = handler(good)
        except ValidationError as error:
            problems += [
                InitErrorDetails(type=found["type"], loc=found["loc"], input=found["input"], ctx=found.get("ctx", {}))
                for found in error.errors()
            ]
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return made  # pyright: ignore[reportPossiblyUnboundVariable]

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, steps: int | None) -> int | None:
        if steps == 0:
            raise ValueError("0 given; valid: a whole number, at least 1, or -1 for as many as num_train_epochs says")
        return steps

    @model_validator(mode="after")
    def _one_precision(self) -> TrainConfig:
        if self.bf16 and self.fp16:
            raise ValueError("bf16 and fp16 are both on; valid: one of them")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The form shows the explicit fields; one pattern admits the other names, and nothing admits a typo."""
        schema = handler(core)
        body = handler.resolve_ref_schema(schema)
        known = catalogue()
        for name in ("lr_scheduler_type", "optim"):
            body["properties"][name]["anyOf"][0]["enum"] = list(known[name].choices)
        others = {*known, *RENAMED, *DROPPED} - set(body["properties"]) - set(OWNED)
        body["patternProperties"] = {f"^({'|'.join(map(re.escape, sorted(others)))})$": {}}
        body["additionalProperties"] = False
        return schema


def _checked(values: Mapping[str, Any], explicit: set[str]) -> tuple[dict[str, Any], list[InitErrorDetails]]:
    """The values to go on with, and what is wrong with the rest: all of it at once."""
    good: dict[str, Any] = {}
    problems: list[InitErrorDetails] = []
    for name, value in values.items():
        elsewhere = {**OWNED, **SCRIPTS}
        reason = f"not here: {elsewhere[name]}" if name in elsewhere else old_name_problem(name)
        if reason is None and name not in explicit and name not in catalogue():
            problems.append(InitErrorDetails(type="extra_forbidden", loc=(name,), input=value))
            continue
        try:
            if reason is not None:
                raise ValueError(reason)
            good[name] = value if name in explicit else check(name, refuse_credentials(value))
        except ValueError as error:
            problems.append(InitErrorDetails(type="value_error", loc=(name,), input=value, ctx={"error": error}))
    return good, problems
