"""Translate the arguments of txtai's trainer into sections of a config."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
from tasks.config.json_types import JsonObject
from tasks.config.reading.names import nearest
from tasks.data.sources.locate import own_cache
from tasks.evaluation.custom_metrics import BROUGHT
from tasks.runtime.log import warn

ROLES = {
    "sequence-sequence": ("source", "target"),
    "question-answering": ("question", "context", "answers"),
    "language-generation": ("text", "text_pair"),
    "language-modeling": ("text", "text_pair"),
    "token-detection": ("text", "text_pair"),
}
STREAMS = ("language-generation", "language-modeling", "token-detection")
BESIDE = {"output_dir": "output_dir", "seed": "seed"}
BEST = ("load_best_model_at_end", "metric_for_best_model", "greater_is_better")
# Arguments that are ignored: the values that change nothing, and why any other value is ignored.
DROPPED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "resume_from_checkpoint": ((False,), "TrainingArguments only stores it; write checkpoint=…"),
    "report_to": (("none", [], ["none"]), "no external reporting; trainer.result.history has what was logged"),
    "log_level": (("warning", "passive"), "messages go to Python's logging, to the logger finetune"),
}


def data_of(
    task: str, train: Any, validation: Any, columns: Sequence[str | None] | None, maxlength: int | None, stride: int,
    prefix: str | None, merge: str | None,
) -> JsonObject:  # fmt: skip
    """Return the `data` section; rows become files. Data faults that txtai never checks for are only warnings."""
    from tasks.data.sources.objects import is_rows, rows_to_file, splits_of

    splits = splits_of(train)  # a DatasetDict has both
    train, validation = splits.get("train", train), splits.get("validation") if validation is None else validation
    validation = None if _is_empty(validation) else validation
    names = [name for name in columns if name] if columns else None
    given = {"train": train, "validation": validation}
    files = {
        split: str(rows_to_file(rows, f"data.{split}", own_cache(), names)) if is_rows(rows) or _texts(rows) else rows
        for split, rows in given.items() if rows is not None
    }  # fmt: skip
    data: dict[str, Any] = {**files, "columns": _columns(task, columns), "leakage": "warn"}
    data |= {"max_length": maxlength} if maxlength else {}
    data |= {"max_target_length": maxlength} if maxlength and task == "sequence-sequence" else {}  # as txtai cuts both
    data |= {"stride": stride} if task == "question-answering" else {}
    if prefix and task == "sequence-sequence":
        data["prefix"] = prefix
    elif prefix:
        warn(f"prefix: ignored: only sequence-sequence has one, {task} has not")
    if task in STREAMS:
        data["merge"] = "none" if merge is None else merge
    return data


def _is_empty(rows: Any) -> bool:
    return not isinstance(rows, str | Path) and hasattr(rows, "__len__") and len(rows) == 0


def _texts(rows: Any) -> bool:
    """Whether `rows` is a list of strings, which are texts here, never file names."""
    return isinstance(rows, list | tuple) and all(isinstance(row, str) for row in rows)


def _columns(task: str, columns: Sequence[str | None] | None) -> dict[str, str]:
    if not columns:
        return {}
    roles = ROLES.get(task) or (("text", "label") if len(columns) == 2 else ("text", "text_pair", "label"))
    if task in STREAMS and len(columns) == 1:
        roles = roles[:1]
    if len(columns) != len(roles):
        raise ConfigError(f"columns: {task} takes {len(roles)} ({', '.join(roles)}), not {len(columns)}")
    return {role: name for role, name in zip(roles, columns, strict=True) if name}


FROM_TASK = ("peft_type", "task_type", "inference_mode")  # fields of peft's configs that follow from the training


def adapter_of(lora: Any) -> Any:
    """Return the `peft` section of txtai's `lora`: true, a mapping of LoraConfig's fields, or any of peft's configs."""
    if not lora or lora is True:
        return "lora" if lora else "none"
    fields = dict(lora if isinstance(lora, Mapping) else lora.to_dict())
    kind = fields.get("peft_type") or "lora"
    method = str(getattr(kind, "value", kind)).lower()
    needed = {"total_step": fields["total_step"]} if "total_step" in fields else {}  # AdaLoRA's; the training sets it
    usual = {} if isinstance(lora, Mapping) else type(lora)(**needed).to_dict()
    given = {name: sorted(value) if isinstance(value, set) else value for name, value in fields.items()
             if name not in FROM_TASK and value is not None and value != usual.get(name)}  # fmt: skip
    return {**({"r": 8, "lora_alpha": 8, "lora_dropout": 0.0} if method == "lora" else {}), **given, "method": method}


def quant_of(quantize: Any, lora: Any) -> JsonObject:
    """Return the `quant` section. Invalid values are refused on any machine; without a GPU, valid ones only warn.

    Raises:
        ConfigError: a name BitsAndBytesConfig does not have; 4 and 8 bits at once; no adapter to train.
    """
    if not quantize:
        return {}
    from tasks.config.sections.quant import QuantConfig
    from tasks.models.device import device

    if quantize is True:
        fields: dict[str, Any] = {"load_in_4bit": True}
    else:
        fields = dict(quantize if isinstance(quantize, Mapping) else quantize.to_dict())
    ours = {name: str(value).removeprefix("torch.") if "dtype" in name else value
            for name, value in fields.items() if name in QuantConfig.model_fields}  # fmt: skip
    if isinstance(quantize, Mapping):
        _refuse_unknown(fields, QuantConfig.model_fields)
    try:
        QuantConfig.model_validate(ours)
    except ValidationError as error:
        raise ConfigError(f"quantize: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    if not lora:
        raise ConfigError("quantize: quantized weights cannot be trained directly; set lora=True too")
    if device() == "cpu":
        warn("quantize: there is no GPU, so the base is not quantized, as by txtai's trainer")
        return {}
    return ours


def _refuse_unknown(fields: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    from transformers import BitsAndBytesConfig

    theirs = {*inspect.signature(BitsAndBytesConfig).parameters} - {"kwargs"}
    for name in fields:
        if name not in theirs and name not in ours:
            guess = nearest(name, [*theirs, *ours])
            raise ConfigError(f"quantize: {name} is not a field of BitsAndBytesConfig" +
                              (f"; did you mean {guess!r}?" if guess else ""))  # fmt: skip
        if name not in ours:
            warn(f"quantize: {name} is ignored; supported are {', '.join(ours)}")


def checkpoint_of(checkpoint: str | Path | bool | None, output_dir: str | None) -> JsonObject:
    """Return `resume_from_checkpoint`; True means the newest checkpoint in `output_dir`, or of the run that wrote it.

    Raises:
        ConfigError: True without an output_dir.
    """
    if not checkpoint:
        return {}
    if checkpoint is True and not output_dir:
        raise ConfigError("checkpoint: True means the newest checkpoint of output_dir; set output_dir, or give a path")
    return {"resume_from_checkpoint": str(output_dir if checkpoint is True else checkpoint)}


def arguments_of(args: Mapping[str, Any], own_metrics: bool) -> JsonObject:
    """Map TrainingArguments to our sections. A few belong to other sections; a few are ignored with a warning.

    Args:
        own_metrics: whether a `metrics` function was given.
    """
    found: dict[str, Any] = {"train": {}}
    if folder := args.get("output_dir"):
        found["name"] = Path(folder).name or None  # training into this folder again replaces the model
    for name, value in args.items():
        if value is None or name in BEST or (name == "output_dir" and not value):
            continue
        if name == "callbacks":
            found.setdefault("eval", {}).update(_patience(value))
        elif name in DROPPED:
            quiet, why = DROPPED[name]
            if value not in quiet:
                warn(f"{name}: ignored: {why}")
        elif name == "overwrite_output_dir":
            found["export"] = {"overwrite": bool(value)}
        elif name in BESIDE:
            found[BESIDE[name]] = value
        else:
            found["train"][name] = value
    best = _best(args, own_metrics)
    if best or "eval" in found:
        found["eval"] = {**found.get("eval", {}), **best}
    return found


def _best(args: Mapping[str, Any], own_metrics: bool) -> JsonObject:
    """Return which checkpoint is kept, by transformers' rule: the best by `metric_for_best_model` (default: the loss)
    if `load_best_model_at_end` or `save_strategy: best` is set."""
    metric, upward = args.get("metric_for_best_model"), args.get("greater_is_better")
    if not (args.get("load_best_model_at_end") or args.get("save_strategy") == "best"):
        if metric is not None:
            warn("metric_for_best_model: ignored without load_best_model_at_end=True: the last weights are kept")
        return {}
    name = str(metric or "loss").removeprefix("eval_")
    found = {"best": name} if upward is None else {"best": name, "greater_is_better": bool(upward)}
    if own_metrics and name != "loss":  # the caller's function decides, as in transformers
        return {"greater_is_better": not name.endswith("loss"), **found, "best": f"{BROUGHT}{name}"}
    return found


def _patience(callbacks: Any) -> JsonObject:
    """Translate early stopping to `eval.patience`.

    Raises:
        ConfigError: another callback.
    """
    from transformers import EarlyStoppingCallback

    found: dict[str, Any] = {}
    for each in callbacks or ():
        if not isinstance(each, EarlyStoppingCallback) or each.early_stopping_threshold:
            raise ConfigError(
                f"callbacks: {type(each).__name__} is not supported: a live object is not part of the cache key, so a "
                "result made without it could be reused; valid is EarlyStoppingCallback without a threshold; for "
                "anything else replace a stage: finetune(…, stages={'s09_train': yours})"
            )
        found["patience"] = each.early_stopping_patience
    return found
