"""Reliable checkpoints: states without pickle, folders that are complete or absent, an exact resume from any step.
Losses, data and evaluation are not handled here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, Trainer, TrainerState
from transformers.trainer_utils import EvalLoopOutput

from tasks.artifacts.formats.manifest import commit, is_complete
from tasks.config.errors import Signalled, TrainingError
from tasks.models.bases.live import save_module
from tasks.models.prompts import load_prompt, prompt_encoder, saving_prompt
from tasks.training import state
from tasks.training.callbacks.control import StopOnSignal
from tasks.training.checkpoints import STATE, outdated
from tasks.training.endings import EnoughEvaluated
from tasks.training.hooks import TrainingHook

RNG, EPOCH_RNG, HOOKS = "rng", "epoch_rng", "hooks"
OWES_EVALUATION = "owes_evaluation"  # marks a checkpoint whose due evaluation was not finished


class ResumableTrainer(Trainer):
    """A mixin that makes the checkpoints of transformers' `Trainer`, or of a subclass such as TRL's trainers, complete
    and exactly resumable: `class Mine(ResumableTrainer, SFTTrainer)`.

    Args:
        keep: checkpoints to keep besides the best.
        on_commit: called with each committed checkpoint. on_remove: called with the name of an outdated one.
        stop: the callback that stops the training on a signal.
        hooks: the training methods, whose state is saved in checkpoints.
    """

    def __init__(
        self,
        *arguments: Any,
        keep: int,
        on_commit: Callable[[Path], None],
        on_remove: Callable[[str], None],
        stop: StopOnSignal,
        hooks: Sequence[TrainingHook] = (),
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.keep, self.on_commit, self.on_remove, self.stop = keep, on_commit, on_remove, stop
        self.hooks = hooks
        self._owes_evaluation = False
        self.epoch_rng = state.capture_rng()
        self.seconds_saving = 0.0
        self._saved_at = -1

    @contextmanager
    def interruptible_evaluation(self) -> Iterator[None]:
        """Within, a signal aborts the evaluation; it is repeated when the training resumes."""
        try:
            with self.stop.evaluating():
                yield
        except Signalled:
            self._owes_evaluation = True
            raise

    def evaluation_loop(self, *arguments: Any, **named: Any) -> EvalLoopOutput:
        """Run the evaluation of the next base class, interruptible."""
        with self.interruptible_evaluation():
            return super().evaluation_loop(*arguments, **named)

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: torch.nn.Module, trial: Any, *rest: Any, **named: Any
    ):
        if self.control.should_evaluate and self.stop.stopped is not None:
            self.control.should_evaluate, self.control.should_save, self._owes_evaluation = False, True, True
        wanted, generators = self.control.should_save, state.capture_rng()
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **named)
        except Signalled:
            if self._owes_evaluation:
                state.apply_rng(generators)  # a resumed training evaluates from the same random state
                self._save_checkpoint(model, trial)
            raise
        if wanted and self._saved_at != self.state.global_step:  # save_strategy `best` drops other requested saves
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _evaluate_pending(self, checkpoint: Path, schedule: bool = True) -> None:
        """Run the evaluation that was due at the checkpoint, if a signal interrupted it. The checkpoint is not changed:
        the next resume from it runs the evaluation again."""
        if (checkpoint / OWES_EVALUATION).exists():
            metrics = self._evaluate(None, None, skip_scheduler=not schedule)
            if self._determine_best_metric(metrics=metrics, trial=None):
                self.state.best_model_checkpoint = str(checkpoint)
            if self.control.should_training_stop:
                raise EnoughEvaluated

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        started = time.monotonic()
        assert self.args.output_dir is not None
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        super()._save_checkpoint(model, trial)
        if self._owes_evaluation:
            (folder / OWES_EVALUATION).touch()
        self._save_hooks(folder)
        commit(folder)
        self.on_commit(folder)
        for old in outdated(folder.parent, self.keep, self.state.best_model_checkpoint):
            self.on_remove(old.name)
        self._saved_at = self.state.global_step
        self.seconds_saving = time.monotonic() - started

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        if isinstance(self.model, PreTrainedModel | PeftModel):
            with saving_prompt(self.model, folder):
                super()._save(output_dir, state_dict)
            (folder / "training_args.bin").unlink()  # an unneeded pickle
        else:
            assert self.model is not None
            save_module(self.model, folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        assert self.optimizer is not None
        state.save_optimizer(self.optimizer, Path(output_dir))  # type: ignore[arg-type] — accelerate's wrapper
        state.save_scheduler(self.lr_scheduler, Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            state.load_optimizer(self.optimizer, Path(checkpoint))  # type: ignore[arg-type]
            state.load_scheduler(self.lr_scheduler, Path(checkpoint))
            self._load_hooks(Path(checkpoint))

    def _save_rng_state(self, output_dir: str) -> None:
        state.save_rng(state.capture_rng(), Path(output_dir), RNG)
        state.save_rng(self.epoch_rng, Path(output_dir), EPOCH_RNG)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Called by the library last, before a resumed training continues."""
        if checkpoint is not None:
            state.apply_rng(state.load_rng(Path(checkpoint), RNG))
            self._evaluate_pending(Path(checkpoint))
            if float(self.state.epoch or 0).is_integer():
                self.epoch_rng = state.capture_rng()

    def enter_epoch(self, checkpoint: Path | None) -> None:
        """Called at the start of an epoch: record the generators' state, which determines the epoch's order of rows.

        A resumed epoch must have the same order: it starts from the recorded state or, if the checkpoint is from the
        end of an epoch, from the checkpoint's state.
        """
        if checkpoint is not None:
            at_boundary = float(self.state.epoch or 0).is_integer()
            state.apply_rng(state.load_rng(checkpoint, RNG if at_boundary else EPOCH_RNG))
        self.epoch_rng = state.capture_rng()
        if enter := getattr(self.train_dataset, "enter_epoch", None):
            enter(int(self.state.epoch or 0))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if prompt_encoder(self.model) is not None:
            load_prompt(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def take_up(self, checkpoint: Path) -> None:
        """Load the final weights of a training that ends or pauses at `checkpoint`."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / STATE))
        with suppress(EnoughEvaluated):
            self._evaluate_pending(checkpoint, schedule=False)
        self.take_best()

    def take_best(self) -> None:
        """Load the weights of the best checkpoint so far, if configured."""
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()

    def _load_best_model(self) -> None:
        """Raise if the best checkpoint is missing: the library would only log it and keep the last weights."""
        if not is_complete(Path(self.state.best_model_checkpoint or "")):
            raise TrainingError(
                f"the best checkpoint, {self.state.best_model_checkpoint}, is missing or damaged; run the same command "
                "again to train from the newest complete one"
            )
        if prompt_encoder(self.model) is not None:
            load_prompt(self.model, Path(self.state.best_model_checkpoint or ""))
        else:
            super()._load_best_model()

    def _save_scaler(self, output_dir: str) -> None:
        if (scaler := getattr(self.accelerator, "scaler", None)) is not None:
            state.write_json(scaler.state_dict(), Path(output_dir) / "scaler.json")

    def _load_scaler(self, checkpoint: str | None) -> None:
        path = Path(checkpoint or "") / "scaler.json"
        if checkpoint is not None and path.exists() and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.read_json(path))

    def _save_hooks(self, folder: Path) -> None:
        states = [dict(hook.state_dict()) for hook in self.hooks]
        if any(states):
            state.write_tree(states, folder, HOOKS)

    def _load_hooks(self, folder: Path) -> None:
        if (folder / f"{HOOKS}.json").exists():
            for hook, found in zip(self.hooks, state.read_tree(folder, HOOKS), strict=True):
                hook.load_state_dict(found)
