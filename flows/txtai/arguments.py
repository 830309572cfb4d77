"""What txtai's trainer is called with, as sections of a config."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.errors import ConfigError
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
# What is not handed on: the values that ask for nothing, and why the others are not heard.
DROPPED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "resume_from_checkpoint": ((False,), "TrainingArguments only carries it; write checkpoint=…"),
    "report_to": (("none", [], ["none"]), "nothing is reported elsewhere; trainer.result.history has what was logged"),
    "log_level": (("warning", "passive"), "what is said is said through Python's logging, as finetune"),
}


def data_of(
    task: str, train: Any, validation: Any, columns: Sequence[str | None] | None, maxlength: int | None, stride: int,
    prefix: str | None, merge: str | None,
) -> dict[str, Any]:  # fmt: skip
    """The `data` section; rows become files. What txtai never looked at is said, and stops nothing."""
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
        warn(f"prefix: not heard here: {task} has none, sequence-sequence has")
    if task in STREAMS:
        data["merge"] = "none" if merge is None else merge
    return data


def _is_empty(rows: Any) -> bool:
    return not isinstance(rows, str | Path) and hasattr(rows, "__len__") and len(rows) == 0


def _texts(rows: Any) -> bool:
    """A list of strings holds texts here, never names of files."""
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


def adapter_of(lora: Any) -> Any:
    if not lora or lora is True:
        return "lora" if lora else "none"
    from tasks.config.sections.peft import Lora

    fields = dict(lora if isinstance(lora, Mapping) else lora.to_dict())
    known = {name: value for name, value in fields.items() if name in Lora.model_fields and value is not None}
    if isinstance(known.get("target_modules"), set):
        known["target_modules"] = sorted(known["target_modules"])
    if isinstance(lora, Mapping) and (strange := fields.keys() - Lora.model_fields.keys() - {"task_type"}):
        raise ConfigError(f"lora: {min(strange)} is not known here; valid are {', '.join(Lora.model_fields)}")
    return {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0, **known, "method": "lora"}


def quant_of(quantize: Any, lora: Any) -> dict[str, Any]:
    """The `quant` section. What cannot be is refused wherever this runs; without a GPU the rest is said and left out.

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
        _refuse_strange(fields, QuantConfig.model_fields)
    try:
        QuantConfig.model_validate(ours)
    except ValidationError as error:
        raise ConfigError(f"quantize: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    if not lora:
        raise ConfigError("quantize: quantized weights cannot be trained themselves; give lora=True too")
    if device() == "cpu":
        warn("quantize: there is no GPU, so the base is not quantized")
        return {}
    return ours


def _refuse_strange(fields: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    from transformers import BitsAndBytesConfig

    theirs = {*inspect.signature(BitsAndBytesConfig).parameters} - {"kwargs"}
    for name in fields:
        if name not in theirs and name not in ours:
            guess = nearest(name, [*theirs, *ours])
            raise ConfigError(f"quantize: {name} is no field of BitsAndBytesConfig" +
                              (f"; did you mean {guess!r}?" if guess else ""))  # fmt: skip
        if name not in ours:
            warn(f"quantize: {name} is not heard here; {', '.join(ours)} are")


def checkpoint_of(checkpoint: str | Path | bool | None, output_dir: str | None) -> dict[str, Any]:
    """The field by which a training goes on from a checkpoint: one in, or of the run that wrote to, `output_dir`.

    Raises:
        ConfigError: True, and no output_dir.
    """
    if not checkpoint:
        return {}
    if checkpoint is True and not output_dir:
        raise ConfigError("checkpoint: True is the newest checkpoint of output_dir; give output_dir, or a path")
    return {"resume_from_checkpoint": str(output_dir if checkpoint is True else checkpoint)}


def arguments_of(args: Mapping[str, Any], own_metrics: bool) -> dict[str, Any]:
    """TrainingArguments where ours stand: a few at other places, a few that mean nothing here, which is said.

    Args:
        own_metrics: whether a `metrics` function was given.
    """
    found: dict[str, Any] = {"train": {}}
    if folder := args.get("output_dir"):
        found["name"] = Path(folder).name or None  # whatever is trained into this folder is the same model, made anew
    for name, value in args.items():
        if value is None or name in BEST or (name == "output_dir" and not value):
            continue
        if name == "callbacks":
            found.setdefault("eval", {}).update(_patience(value))
        elif name in DROPPED:
            quiet, why = DROPPED[name]
            if value not in quiet:
                warn(f"{name}: not heard here: {why}")
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


def _best(args: Mapping[str, Any], own_metrics: bool) -> dict[str, Any]:
    """Which checkpoint is kept, by transformers' rule: the best by `metric_for_best_model`, which is the loss unless
    said otherwise, where `load_best_model_at_end` or `save_strategy: best` asks for it."""
    metric, upward = args.get("metric_for_best_model"), args.get("greater_is_better")
    if not (args.get("load_best_model_at_end") or args.get("save_strategy") == "best"):
        if metric is not None:
            warn("metric_for_best_model: not heard without load_best_model_at_end=True: the last weights are kept")
        return {}
    name = str(metric or "loss").removeprefix("eval_")
    found = {"best": name} if upward is None else {"best": name, "greater_is_better": bool(upward)}
    if own_metrics and name != "loss":  # what the caller's function returns counts, as transformers has it
        return {"greater_is_better": not name.endswith("loss"), **found, "best": f"{BROUGHT}{name}"}
    return found


def _patience(callbacks: Any) -> dict[str, Any]:
    """Early stopping as `eval.patience`.

    Raises:
        ConfigError: another callback.
    """
    from transformers import EarlyStoppingCallback

    found: dict[str, Any] = {}
    for each in callbacks or ():
        if not isinstance(each, EarlyStoppingCallback) or each.early_stopping_threshold:
            raise ConfigError(
                f"callbacks: {type(each).__name__} cannot be taken: what a live object does stands in no key, so a "
                "result would be found again that it never shaped; EarlyStoppingCallback can, without a threshold; for "
                "the rest replace a stage: finetune(…, stages={'s09_train': yours})"
            )
        found["patience"] = each.early_stopping_patience
    return found
