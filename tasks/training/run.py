"""One training, from a plan and files to final weights. It knows neither store nor Prefect: it runs in a notebook."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainingArguments
from transformers.utils import logging as library_logging

from tasks.config.errors import Interrupted, TrainingError
from tasks.data.rows import TokenRows
from tasks.training.callbacks import Cadence, StopOnSignal, Watch
from tasks.training.checkpoints import localise, newest_whole
from tasks.training.trainer import FinetuneTrainer


@dataclass(frozen=True)
class Watching:
    """How a training is watched and saved; nothing here changes its numbers."""

    arguments: Mapping[str, Any]
    every_minutes: float
    on_step: Callable[[int, int], None]
    on_log: Callable[[int, Mapping[str, float]], None]
    on_commit: Callable[[Path], None]
    on_remove: Callable[[str], None]
    say: Callable[[str], None]


def settle(plan: Mapping[str, Any]) -> None:
    """Set what torch computes with, as the plan says: threads and the precision of float32 products."""
    torch.set_num_threads(plan["threads"])
    torch.set_float32_matmul_precision(plan["float32_matmul_precision"])


def train(
    model: PreTrainedModel,
    plan: Mapping[str, Any],
    rows: TokenRows,
    evaluation: TokenRows | None,
    collate: Callable[..., Any],
    compute_metrics: Callable[[Any], dict[str, float]],
    folder: Path,
    watching: Watching,
) -> list[dict[str, Any]]:
    """Train `model` in place, going on from the newest whole checkpoint in `folder`.

    Returns:
        The history: one entry for each log and evaluation.

    Raises:
        Interrupted: a signal asked to stop; a checkpoint was saved first.
        TrainingError: the loss is not a number.
    """
    library_logging.set_verbosity_error()
    folder.mkdir(parents=True, exist_ok=True)
    resumed = newest_whole(folder)
    if resumed is not None:
        localise(resumed)
        watching.say(f"going on from {resumed.name}")
    cadence = Cadence(watching.every_minutes, *_cadence(plan, watching.arguments), resumed)
    stop = StopOnSignal()
    callbacks = [stop, cadence, Watch(watching.on_step, watching.on_log)]
    if plan["patience"]:
        callbacks.append(EarlyStoppingCallback(plan["patience"]))
    trainer = FinetuneTrainer(
        loss_ignores_num_items=plan["loss_ignores_num_items"],
        keep=watching.arguments.get("save_total_limit") or 1,
        on_commit=watching.on_commit,
        on_remove=watching.on_remove,
        model=model,
        args=_arguments(plan, watching, folder),
        train_dataset=rows,
        eval_dataset=evaluation,
        data_collator=collate,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
    _without_printer(trainer)
    cadence.trainer = trainer
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.caught is not None:
        raise Interrupted(
            f"stopped by signal {stop.caught} after step {trainer.state.global_step} of {trainer.state.max_steps}; "
            "a checkpoint is saved, and the same command goes on from there"
        )
    _check_finite(trainer)
    return trainer.state.log_history


def save_weights(model: PreTrainedModel | PeftModel, out: Path) -> None:
    """Write the trained parameters: `model*.safetensors`, or an adapter's, with their config."""
    model.save_pretrained(str(out))
    for extra in ("README.md", "training_args.bin"):
        (out / extra).unlink(missing_ok=True)
    shutil.rmtree(out / "__pycache__", ignore_errors=True)
    adapter = out / "adapter_config.json"
    if adapter.exists():  # it would name a scratch folder
        config = json.loads(adapter.read_text()) | {"base_model_name_or_path": None}
        adapter.write_text(json.dumps(config, indent=2, sort_keys=True))


def _cadence(plan: Mapping[str, Any], watched: Mapping[str, Any]) -> tuple[str, int]:
    every = watched.get("save_steps") or 500
    if 0 < every < 1:
        every = max(1, round(every * plan["steps"]["total"]))
    return str(watched.get("save_strategy") or "no"), int(every)


def _arguments(plan: Mapping[str, Any], watching: Watching, folder: Path) -> TrainingArguments:
    watched = {name: value for name, value in watching.arguments.items() if not name.startswith("save_")}
    best = plan["arguments"].get("load_best_model_at_end", False)
    ours = {"report_to": "none", "disable_tqdm": True, "log_level": "error"}  # unless the user says otherwise
    return TrainingArguments(
        **{
            **ours,
            **watched,
            **plan["arguments"],
            "output_dir": str(folder),
            "seed": plan["seed"],
            "use_cpu": plan["device"] == "cpu",
            # Saving is ours (Cadence, FinetuneTrainer); the library must only know of `best`, which it tracks.
            "save_strategy": "best" if best else "no",
        }
    )


def _without_printer(trainer: FinetuneTrainer) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # what is logged is ours to show


def _check_finite(trainer: FinetuneTrainer) -> None:
    assert trainer.model is not None
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise TrainingError(
                f"the training diverged: {name} is not finite after step {trainer.state.global_step}; "
                "lower train.learning_rate, or raise train.warmup_steps"
            )
