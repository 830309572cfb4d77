"""Run one training, from a plan and files to final weights, without store or Prefect, so that a notebook can use it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)
from transformers.utils import logging as library_logging

from tasks.config.errors import ConfigError, Interrupted, Signalled, TrainingError
from tasks.config.json_types import JsonObject
from tasks.training.callbacks.control import Cadence, PauseAt, StopOnSignal, Watch
from tasks.training.callbacks.diagnostics import WarnOfDiagnostics
from tasks.training.callbacks.enter_step import EnterStep
from tasks.training.callbacks.keep_last import KeepLast
from tasks.training.callbacks.own_steps import OwnSteps
from tasks.training.callbacks.watch_evaluation import WatchEvaluation
from tasks.training.checkpoints import STATE, newest_whole, relocate, step_of
from tasks.training.endings import EnoughEvaluated, NotFinite
from tasks.training.given import Given
from tasks.training.trainer import FinetuneTrainer

NOT_FINITE = "not_finite.json"


@dataclass(frozen=True)
class Watching:
    """Logging and saving options of a training; they do not affect its results."""

    arguments: Mapping[str, Any]
    every_minutes: float
    on_step: Callable[[int, int], None]
    on_rows: Callable[[int, int], None]
    on_log: Callable[[int, Mapping[str, float]], None]
    on_commit: Callable[[Path], None]
    on_remove: Callable[[str], None]
    info: Callable[[str], None]
    warn: Callable[[str], None]
    falling: Sequence[str] = ("loss",)
    until: int | None = None  # pause after this step
    keep_last: bool = False  # save a checkpoint after the last step
    trackers: Sequence[Any] = ()  # callbacks (`tasks.training.trackers.Tracker`)


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        history: one entry for each log and evaluation.
        state: the Trainer's state (`TrainerState`'s fields), without paths of this machine.
        paused: the step after which it paused, if `Watching.until` was set. metrics: of the evaluation rows there.
        signalled: a signal received after the last step. extra: see `FinetuneTrainer.extra_weights`.
    """

    history: list[dict[str, Any]]
    state: Mapping[str, Any] = field(default_factory=dict)
    paused: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    signalled: int | None = None
    extra: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)


def train(model: PreTrainedModel, plan: Mapping[str, Any], given: Given, folder: Path, watching: Watching) -> Trained:
    """Train `model` in place, resuming from the newest complete checkpoint in `folder`.

    Raises:
        Interrupted: by a signal; a checkpoint is saved.
        ConfigError: arguments that the library rejects. TrainingError: the loss or weights are not finite.
    """
    library_logging.set_verbosity_error()
    folder.mkdir(parents=True, exist_ok=True)
    resumed = newest_whole(folder)
    if resumed is not None:
        relocate(resumed)
        watching.info(f"resumes from {resumed.name} of {plan['steps']['total']} steps")
    cadence = Cadence(watching.every_minutes, *_cadence(plan, watching.arguments), resumed)
    stop, pause = StopOnSignal(), PauseAt(watching.until)
    last = [KeepLast()] if watching.keep_last else []
    callbacks: list[TrainerCallback] = [stop, pause, *last, cadence, OwnSteps(), EnterStep(given.hooks, watching.warn),
                                        Watch(watching.on_step, watching.on_log), WatchEvaluation(watching.on_rows),
                                        WarnOfDiagnostics(watching.warn, watching.falling)]  # fmt: skip
    if plan["patience"]:
        callbacks.append(_patience(plan["patience"], resumed))
    callbacks += [callback for hook in given.hooks for callback in hook.callbacks()]
    callbacks += watching.trackers
    for hook in given.hooks:
        hook.check()
    for hook in given.hooks:
        hook.set_trainable()
    for hook in given.hooks:
        hook.prepare()
    trainer = _trainer(model, plan, given, folder, watching, callbacks, stop)
    cadence.trainer = trainer
    if resumed is not None and watching.until is not None and step_of(resumed) >= watching.until:
        trainer.take_up(resumed)
        return _paused(trainer)
    if resumed is not None and step_of(resumed) >= plan["steps"]["total"]:  # the library would train another step
        trainer.take_up(resumed)
        return _ended(trainer)
    try:
        with stop.listening():
            _learn(trainer, resumed, plan["steps"]["total"])
    except Signalled:
        if stop.stopped is None:  # a second signal, within a step
            raise
    except NotFinite as error:
        (folder / NOT_FINITE).write_text(json.dumps({"step": error.step, "loss": str(error.loss), "rows": error.rows}))
        raise TrainingError(
            f"the training diverged: the loss is {error.loss} at step {error.step}, for the rows "
            f"{', '.join(error.rows[:3]) or 'of that batch'} (all in {folder / NOT_FINITE}); check them, lower "
            "train.learning_rate, or raise train.warmup_steps"
        ) from error
    _check_stopped(stop, trainer, folder)
    _check_finite(trainer)
    if trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint is None:
        watching.warn("eval.best: no evaluation had a value for it; the last weights are kept")
    if pause.reached:
        return _paused(trainer)
    return _ended(trainer, stop.caught)


def _ended(trainer: FinetuneTrainer, signalled: int | None = None) -> Trained:
    extra = trainer.extra_weights()
    return Trained(trainer.state.log_history, _state(trainer), signalled=signalled, extra=extra)


def _check_stopped(stop: StopOnSignal, trainer: FinetuneTrainer, folder: Path) -> None:
    if stop.stopped is None:
        return
    step, saved = trainer.state.global_step, newest_whole(folder)
    if saved is not None and step_of(saved) == step:
        kept = "a checkpoint is saved"
    else:  # a second signal ended the saving
        kept = f"the last checkpoint is of step {step_of(saved)}" if saved else "no checkpoint was saved"
    raise Interrupted(f"stopped by signal {stop.stopped} after step {step} of {trainer.state.max_steps}; {kept}; run "
                      "the same command again to resume")  # fmt: skip


def _learn(trainer: FinetuneTrainer, resumed: Path | None, steps: int) -> None:
    if resumed is not None and step_of(resumed) >= steps:  # the library would take one step more
        trainer.take_up(resumed)
        return
    try:
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    except EnoughEvaluated:
        trainer.take_best()


def _paused(trainer: FinetuneTrainer) -> Trained:
    """Evaluate the weights of a paused training. Its history is not changed, so that the checkpoint stays the same."""
    history, step = list(trainer.state.log_history), trainer.state.global_step
    found = trainer.evaluate() if trainer.eval_dataset is not None else {}
    timing = ("_runtime", "_per_second")
    metrics = {name: float(value) for name, value in found.items() if name != "epoch" and not name.endswith(timing)}
    return Trained(history, paused=step, metrics=metrics)


def _state(trainer: FinetuneTrainer) -> JsonObject:
    local = ("best_model_checkpoint", "stateful_callbacks")
    return {name: value for name, value in asdict(trainer.state).items() if name not in local}


def _cadence(plan: Mapping[str, Any], watched: Mapping[str, Any]) -> tuple[str, int]:
    every = watched.get("save_steps") or 500
    if 0 < every < 1:
        every = max(1, round(every * plan["steps"]["total"]))
    return str(watched.get("save_strategy") or "no"), int(every)


def _arguments(plan: Mapping[str, Any], watching: Watching, folder: Path) -> Seq2SeqTrainingArguments:
    watched = {name: value for name, value in watching.arguments.items() if not name.startswith("save_")}
    best = plan["arguments"].get("load_best_model_at_end", False)
    ours = {"report_to": "none", "disable_tqdm": True, "log_level": "error"}  # defaults that the user may change
    arguments = Seq2SeqTrainingArguments(
        **{
            **ours,
            **watched,
            **plan["arguments"],
            "output_dir": str(folder),
            "seed": plan["seed"],
            "use_cpu": plan["device"] == "cpu",
            # Saving is done by Cadence and FinetuneTrainer; the library only tracks `best`.
            "save_strategy": "best" if best else "no",
        }
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would multiply the planned batch size
    return arguments


def _trainer(
    model: PreTrainedModel,
    plan: Mapping[str, Any],
    given: Given,
    folder: Path,
    watching: Watching,
    callbacks: list[TrainerCallback],
    stop: StopOnSignal,
) -> FinetuneTrainer:
    try:
        arguments = _arguments(plan, watching, folder)
        if given.loss is not None or any(hook.columns for hook in given.hooks):
            arguments.remove_unused_columns = False  # columns that the model's `forward` does not accept
        trainer = given.trainer(
            loss_ignores_num_items=plan["loss_ignores_num_items"],
            next_token=plan["cross_entropy"] == "next_token",
            evaluator=given.evaluator,
            loss=given.loss,
            **given.more,
            hooks=given.hooks,
            stop=stop,
            train_dataset=given.rows,
            eval_dataset=given.evaluation,
            data_collator=given.collate,
            keep=watching.arguments.get("save_total_limit") or 1,
            on_commit=watching.on_commit,
            on_remove=watching.on_remove,
            model=model,
            args=arguments,
            callbacks=callbacks,
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(f"train: the Trainer rejects these arguments: {error}") from error
    trainer.remove_callback(PrinterCallback)  # logs are shown by `Watch`
    return trainer


def _patience(evaluations: int, resumed: Path | None) -> EarlyStoppingCallback:
    """Early stopping that keeps its count across a resume, unlike the library's own."""
    stopper = EarlyStoppingCallback(evaluations)
    if resumed is not None:
        saved = json.loads((resumed / STATE).read_text())["stateful_callbacks"].get("EarlyStoppingCallback")
        if saved:  # a checkpoint of another training has none
            stopper.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]
    return stopper


def _check_finite(trainer: FinetuneTrainer) -> None:
    assert trainer.model is not None
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise TrainingError(
                f"the training diverged: {name} is not finite after step {trainer.state.global_step}; "
                "lower train.learning_rate, or raise train.warmup_steps"
            )
