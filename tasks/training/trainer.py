"""transformers' Trainer, with the three things it lacks: states without pickle, checkpoints that are complete or
absent, and a resume that is exact from anywhere.

The numbers are the library's own: with the same arguments a plain Trainer ends in the same bits.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerState
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from tasks.artifacts.formats.manifest import commit, is_whole
from tasks.config.errors import Signalled, TrainingError
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.dataset import TokenRows
from tasks.evaluation.predictor import examine
from tasks.models.bases.live import save_module
from tasks.training import state
from tasks.training.callbacks.control import StopOnSignal
from tasks.training.checkpoints import STATE, outdated
from tasks.training.endings import EnoughEvaluated, NotFinite
from tasks.training.evaluator import Examination, LongestFirst, ordered
from tasks.training.terms import scored, weigh

RNG, EPOCH_RNG = "rng", "epoch_rng"
OWES_EVALUATION = "owes_evaluation"  # a file in a checkpoint that was taken in place of the evaluation due there
SHIFT = "prepare_decoder_input_ids_from_labels"


class FinetuneTrainer(Trainer):
    """A Trainer whose checkpoints can be trusted.

    Args:
        loss_ignores_num_items: see `Objective`.
        examination: how rows are judged. Nothing but verdicts is kept, so memory does not grow with the rows.
        keep: checkpoints to keep besides the best.
        on_commit: told of each committed checkpoint. on_remove: asked to remove an outdated one.
        stop: what a signal stops the training through.
    """

    def __init__(
        self,
        *,
        loss_ignores_num_items: bool,
        examination: Examination,
        keep: int,
        on_commit: Callable[[Path], None],
        on_remove: Callable[[str], None],
        stop: StopOnSignal,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if loss_ignores_num_items:
            # transformers 5.23 takes any **kwargs in forward as "scales its own loss" and then leaves out the
            # division by the accumulation steps (its issue #47688).
            self.model_accepts_loss_kwargs = False
        self.loss_ignores_num_items = loss_ignores_num_items or not self.model_accepts_loss_kwargs
        self._share: float | None = None
        self.examination = examination
        self.keep, self.on_commit, self.on_remove, self.stop = keep, on_commit, on_remove, stop
        self._owes_evaluation = False
        self.epoch_rng = state.capture_rng()
        self.seconds_saving = 0.0
        self._saved_at = -1

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        if self.args.train_sampling_strategy == "group_by_length" and isinstance(rows, TokenRows):
            # The library would read every row to learn its length; the file knows.
            window = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(window, dataset=rows, lengths=rows.lengths())  # type: ignore[return-value]
        return super()._get_train_sampler(train_dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Of all rows: `dataloader_drop_last` is about training, the library applies it here too."""
        drop, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        return LongestFirst(eval_dataset.lengths())

    def evaluation_loop(self, dataloader: Any, description: str, *_: Any, **named: Any) -> EvalLoopOutput:
        """In place of the library's, which keeps all logits of all rows."""
        try:
            with self.stop.evaluating():
                return self._evaluation(dataloader, **named)
        except Signalled:
            self._owes_evaluation = True
            raise

    def _evaluation(self, dataloader: Any, **named: Any) -> EvalLoopOutput:
        assert self.model is not None and self.args.output_dir is not None
        rows, prefix = dataloader.dataset, named.get("metric_key_prefix", "eval")
        order = LongestFirst(rows.lengths()).order
        self.model.eval()
        self.callback_handler.eval_dataloader = dataloader

        def batches() -> Iterator[tuple[np.ndarray, Any]]:
            done = 0
            for batch in dataloader:
                size = len(batch["input_ids"])
                yield order[done : done + size], self._prepare_inputs(batch)
                done += size
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with tempfile.TemporaryDirectory(dir=self.args.output_dir) as folder:
            out = Path(folder) / "predictions.arrow"
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = examine(self.model, batches(), self.examination.judge, rows.table, out)
            found = {"loss": loss, **self.examination.score(open_table(out))}
        if self.examination.whole is not None:
            found |= self.examination.whole(self._predictions(dataloader, np.argsort(order)))
        metrics = {f"{prefix}_{name}": value for name, value in found.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(rows))  # type: ignore[arg-type]

    def _predictions(self, dataloader: Any, places: np.ndarray) -> EvalPrediction:
        """All logits and labels, in the order of the rows."""
        found = super().evaluation_loop(dataloader, "metrics", prediction_loss_only=False)
        predictions, labels = (ordered(each, places) for each in (found.predictions, found.label_ids))
        return EvalPrediction(predictions, labels)

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_batch_samples(*arguments, **named)
        self._share, batches = None, found[0]
        if not self.loss_ignores_num_items or len(batches) < 2:
            return found
        if terms := getattr(self.model, "terms", None):
            weigh(batches, terms)
        elif None not in (counts := [scored(batch) for batch in batches]):
            self._share = len(counts) / max(sum(counts), 1)  # type: ignore[arg-type]
        return found

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        count = scored(inputs) if self._share is not None and torch.is_grad_enabled() else None
        found = self._loss(model, inputs, *arguments, **named)
        # A mean over a micro-batch's tokens weighs by them in the mean over the window's: 4 x 4 is then 1 x 16.
        return (
            found if count is None or self._share is None or isinstance(found, tuple) else found * (count * self._share)
        )

    def _loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        if self.label_smoother is not None and "labels" in inputs and hasattr(model, SHIFT):
            # the label smoother takes the labels away, from which the model would make the decoder's input itself
            inputs = {**inputs, "decoder_input_ids": getattr(model, SHIFT)(labels=inputs["labels"])}
        return super().compute_loss(model, inputs, *arguments, **named)

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *arguments, **named)
        if not torch.isfinite(loss):  # the library would write the mean of the losses before it in the log instead
            raise NotFinite(self.state.global_step + 1, float(loss), self._rows_of(inputs))
        return loss

    def _rows_of(self, inputs: Mapping[str, torch.Tensor]) -> list[str]:
        """`file:line` of the rows of a batch, by their tokens."""
        rows = self.train_dataset
        if not isinstance(rows, TokenRows) or "input_ids" not in inputs:
            return []
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
        wanted = [ids[seen].cpu().numpy() for ids, seen in zip(inputs["input_ids"], mask, strict=True)]
        lengths, found = np.asarray(rows.lengths()), []
        for ids in wanted:
            near = np.flatnonzero(lengths == len(ids))
            at = next((int(at) for at in near if np.array_equal(rows[int(at)]["input_ids"], ids)), None)
            if at is not None:
                found.append(f"{rows.table['__file'][at].as_py()}:{rows.table['__row'][at].as_py()}")
        return found

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *rest: Any, **named: Any):
        if self.control.should_evaluate and self.stop.stopped is not None:
            self.control.should_evaluate, self.control.should_save, self._owes_evaluation = False, True, True
        wanted, generators = self.control.should_save, state.capture_rng()
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *rest, **named)
        except Signalled:
            if self._owes_evaluation:
                state.apply_rng(generators)  # who goes on from here evaluates as if nothing had been
                self._save_checkpoint(model, trial)
            raise
        if wanted and self._saved_at != self.state.global_step:  # `best` forgets a save that was asked for besides
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _evaluate_owed(self, checkpoint: Path, schedule: bool = True) -> None:
        """Make the evaluation that was due where the checkpoint was taken, if a signal kept it from being made. The
        checkpoint stays as it is: whoever goes on from it again makes it again."""
        if (checkpoint / OWES_EVALUATION).exists():
            metrics = self._evaluate(None, None, skip_scheduler=not schedule)
            if self._determine_best_metric(metrics=metrics, trial=None):
                self.state.best_model_checkpoint = str(checkpoint)
            if self.control.should_training_stop:
                raise EnoughEvaluated

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        started = time.monotonic()
        assert self.args.output_dir is not None
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        super()._save_checkpoint(model, trial)
        if self._owes_evaluation:
            (folder / OWES_EVALUATION).touch()
        commit(folder)
        self.on_commit(folder)
        for old in outdated(folder.parent, self.keep, self.state.best_model_checkpoint):
            self.on_remove(old.name)
        self._saved_at = self.state.global_step
        self.seconds_saving = time.monotonic() - started

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir or ".")
        if isinstance(self.model, PreTrainedModel | PeftModel):
            super()._save(output_dir, state_dict)
            (folder / "training_args.bin").unlink()  # a pickle nobody needs
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

    def _save_rng_state(self, output_dir: str) -> None:
        state.save_rng(state.capture_rng(), Path(output_dir), RNG)
        state.save_rng(self.epoch_rng, Path(output_dir), EPOCH_RNG)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The library's last act before a resumed training is where the checkpoint was taken."""
        if checkpoint is not None:
            state.apply_rng(state.load_rng(Path(checkpoint), RNG))
            self._evaluate_owed(Path(checkpoint))
            if float(self.state.epoch or 0).is_integer():
                self.epoch_rng = state.capture_rng()

    def enter_epoch(self, checkpoint: Path | None) -> None:
        """Called as an epoch begins: note the generators' state, from which the epoch's order of rows is drawn.

        A resumed epoch must draw the order it had: it starts from the state noted then, or, if the checkpoint closed
        its epoch, from the state the checkpoint was taken in.
        """
        if checkpoint is not None:
            at_boundary = float(self.state.epoch or 0).is_integer()
            state.apply_rng(state.load_rng(checkpoint, RNG if at_boundary else EPOCH_RNG))
        self.epoch_rng = state.capture_rng()
        if isinstance(self.train_dataset, TokenRows):
            self.train_dataset.enter_epoch(int(self.state.epoch or 0))

    def take_up(self, checkpoint: Path) -> None:
        """Have the weights a training that ends, or is paused, at `checkpoint` ends with."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / STATE))
        with suppress(EnoughEvaluated):
            self._evaluate_owed(checkpoint, schedule=False)
        self.take_best()

    def take_best(self) -> None:
        """Have the weights of the best checkpoint so far, if the best is to be kept."""
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()

    def _load_best_model(self) -> None:
        """The library would go on with the last weights where the best are gone, and log it."""
        if not is_whole(Path(self.state.best_model_checkpoint or "")):
            raise TrainingError(
                f"the best checkpoint, {self.state.best_model_checkpoint}, is gone or damaged; the same command trains "
                "again from the newest that is whole"
            )
        super()._load_best_model()

    def _save_scaler(self, output_dir: str) -> None:
        if (scaler := getattr(self.accelerator, "scaler", None)) is not None:
            state.write_json(scaler.state_dict(), Path(output_dir) / "scaler.json")

    def _load_scaler(self, checkpoint: str | None) -> None:
        path = Path(checkpoint or "") / "scaler.json"
        if checkpoint is not None and path.exists() and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.read_json(path))
