"""The trainer of all tasks: transformers' Trainer with reliable checkpoints, an evaluation whose memory does not grow
with the rows, and the hooks of the training methods.

With the same arguments and without hooks, a plain Trainer ends with bit-identical weights.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction
from transformers.trainer_optimizer import is_optimizer_factory
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput

from tasks.config.errors import ConfigError
from tasks.data.tables.arrow_file import open_table
from tasks.data.tokens.dataset import TokenRows
from tasks.evaluation.predictor import predict_batches
from tasks.training.endings import NotFinite
from tasks.training.evaluator import Evaluator, LongestFirst, ordered
from tasks.training.groups import for_torch, own_groups, plain_groups
from tasks.training.hooks import overrides
from tasks.training.noise import noisy_embeddings
from tasks.training.resumable import ResumableTrainer
from tasks.training.terms import scored, weigh

Loss = Callable[[Any, Any], tuple[torch.Tensor, Any]]
SHIFT = "prepare_decoder_input_ids_from_labels"


class FinetuneTrainer(ResumableTrainer):
    """Trains any task.

    Args:
        loss_ignores_num_items: see `Objective`. next_token: whether a label belongs to the logits of the token before.
        evaluator: how evaluation rows are scored.
        loss: the objective's own loss, to replace the model's.
        arguments: those of `ResumableTrainer`, and of transformers' `Trainer`.
    """

    def __init__(
        self,
        *,
        loss_ignores_num_items: bool,
        evaluator: Evaluator,
        next_token: bool = False,
        loss: Loss | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if loss_ignores_num_items:
            # transformers 5.23 takes any **kwargs in forward to mean "scales its own loss" and then omits the
            # division by the accumulation steps (its issue #47688).
            self.model_accepts_loss_kwargs = False
        self.loss_ignores_num_items = loss_ignores_num_items or not self.model_accepts_loss_kwargs
        self._share: float | None = None
        self.next_token = next_token
        if self.label_smoother is not None:
            self._loss_shifts_labels = next_token  # which the library concludes from the name of the model's class
        self.evaluator, self.own_loss = evaluator, loss
        self.neftune_noise_alpha = None  # see `train`
        self._changing = [hook for hook in self.hooks if overrides(hook, "loss")]
        self._micro_batches = 1

    def train(self, *arguments: Any, **named: Any) -> Any:
        """Train, with noise on the embeddings if configured."""
        assert self.model is not None
        with noisy_embeddings(self.model, self.args.neftune_noise_alpha):
            return super().train(*arguments, **named)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        if given := [found for hook in self.hooks if (found := hook.sampler(rows)) is not None]:
            if len(given) > 1:
                raise ConfigError("methods: several of them determine the order of the rows; leave all but one out")
            return given[0]  # type: ignore[return-value]
        if self.args.train_sampling_strategy == "group_by_length" and isinstance(rows, TokenRows):
            # The library would read every row for its length; the Arrow file has the lengths.
            window = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(window, dataset=rows, lengths=rows.lengths())  # type: ignore[return-value]
        return super()._get_train_sampler(train_dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return a loader of all rows: `dataloader_drop_last` is for training, but the library applies it here too."""
        drop, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drop

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int] | None:
        return LongestFirst(eval_dataset.lengths())

    def evaluation_loop(self, dataloader: Any, description: str, *_: object, **named: Any) -> EvalLoopOutput:
        """Replaces the library's loop, which keeps all logits of all rows in memory."""
        with self.interruptible_evaluation():
            return self._evaluation(dataloader, **named)

    def _evaluation(self, dataloader: Any, **named: Any) -> EvalLoopOutput:
        assert self.model is not None and self.args.output_dir is not None
        rows, prefix = dataloader.dataset, named.get("metric_key_prefix", "eval")
        order = LongestFirst(rows.lengths()).order
        self.model.eval()
        self.callback_handler.eval_dataloader = dataloader

        def batches() -> Iterator[tuple[np.ndarray, Any]]:
            size = self.args.eval_batch_size
            for done, batch in zip(range(0, len(order), size), dataloader, strict=True):
                yield order[done : done + size], self._prepare_inputs(batch)
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with tempfile.TemporaryDirectory(dir=self.args.output_dir) as folder:
            out = Path(folder) / "predictions.arrow"
            with torch.no_grad(), self.compute_loss_context_manager():
                loss = predict_batches(self.model, batches(), self.evaluator.predictor, rows.table, out)
            found = {**({"loss": loss} if loss == loss else {}), **self.evaluator.score(open_table(out))}
        if self.evaluator.whole is not None:
            found |= self.evaluator.whole(self._predictions(dataloader, np.argsort(order)))
        metrics = {f"{prefix}_{name}": value for name, value in found.items()}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(rows))  # type: ignore[arg-type]

    def _predictions(self, dataloader: Any, places: np.ndarray) -> EvalPrediction:
        """Return all logits and labels, in row order."""
        found = super().evaluation_loop(dataloader, "metrics", prediction_loss_only=False)
        predictions, labels = (ordered(each, places) for each in (found.predictions, found.label_ids))
        return EvalPrediction(predictions, labels)

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        found = super().get_batch_samples(*arguments, **named)
        self._share, batches = None, found[0]
        self._micro_batches = len(batches)
        for hook in self.hooks:
            hook.micro_batches = len(batches)
        if not self.loss_ignores_num_items or len(batches) < 2:
            return found
        if terms := getattr(self.model, "terms", None):
            weigh(batches, terms)
        elif None not in (counts := [self._denominator(batch) for batch in batches]):
            self._share = len(counts) / (sum(counts) or 1)  # type: ignore[arg-type]
        return found

    def compute_loss(
        self, model: torch.nn.Module, inputs: Any, return_outputs: bool = False, *rest: Any, **named: Any
    ) -> Any:
        """Return the loss of a micro-batch, from the model or the objective, and the hooks."""
        whole, inputs = inputs, self._for_model(inputs)
        count = self._denominator(inputs) if self._share is not None and torch.is_grad_enabled() else None
        if return_outputs or not self._changing or not torch.is_grad_enabled():
            found = self._loss(model, inputs, return_outputs, *rest, **named)
        else:
            found, outputs = self._loss(model, inputs, True, *rest, **named)
            for hook in self._changing:
                found = hook.loss(found, whole, outputs)
        # A mean over a micro-batch's tokens is weighted by their number (or the sum of their weights), so that 4 x 4
        # rows equal 1 x 16.
        if count is not None and self._share is not None and not return_outputs:
            found = found * (count * self._share)
        return found if return_outputs or not torch.is_grad_enabled() else self._with_penalties(found)

    def _for_model(self, batch: Any) -> Any:
        """Return a batch without the columns that are for hooks, and with what they give to the model."""
        ours = {name for hook in self.hooks for name in hook.columns}
        if not ours:
            return batch
        more = {name: each for hook in self.hooks for name, each in hook.model_inputs.items()}
        return {name: each for name, each in batch.items() if name not in ours} | more

    def _denominator(self, batch: Any) -> float | None:
        """Return what the loss of a micro-batch is divided by; None: all micro-batches count alike."""
        given = [found for hook in self._changing if (found := hook.denominator(batch)) is not None]
        return given[-1] if given else scored(batch)

    def _loss(self, model: torch.nn.Module, inputs: Any, return_outputs: bool, *rest: Any, **named: Any) -> Any:
        if self.own_loss is not None:
            loss, outputs = self.own_loss(model, inputs)
            return (loss, outputs) if return_outputs else loss
        if torch.is_grad_enabled() and (forward := self._forward(model, inputs, *rest, **named)) is not None:
            return forward if return_outputs else forward[0]
        if self.label_smoother is not None and "labels" in inputs:
            loss, outputs = self._smoothed(model, {**inputs}, *rest, **named)
            return (loss, outputs) if return_outputs else loss
        return super().compute_loss(model, inputs, return_outputs, *rest, **named)

    def _forward(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> tuple[Any, Any] | None:
        """Return the loss and outputs of a hook that replaces the model's."""
        own = [hook for hook in self.hooks if overrides(hook, "forward")]
        if not own:
            return None
        if len(own) > 1:
            raise ConfigError("methods: several of them replace the forward pass; leave all but one out")
        if hasattr(model, SHIFT):
            inputs = {**inputs, "decoder_input_ids": getattr(model, SHIFT)(labels=inputs["labels"])}
        return own[0].forward(model, inputs, None if self.loss_ignores_num_items else num_items_in_batch)

    def _smoothed(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> tuple[Any, Any]:
        """Return the loss with smoothed labels, as the library does for classes whose names it knows."""
        labels = inputs.pop("labels")
        if hasattr(model, SHIFT):  # with labels the model would make the decoder's input itself
            inputs["decoder_input_ids"] = getattr(model, SHIFT)(labels=labels)
        if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            inputs["num_items_in_batch"] = num_items_in_batch
        outputs = model(**inputs)
        smoother: Any = self.label_smoother
        return smoother(outputs, labels, self.next_token, num_items_in_batch), outputs

    def _with_penalties(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss plus this micro-batch's share of the hooks' penalties."""
        penalties = [found for hook in self.hooks if (found := hook.penalty()) is not None]
        # A loss per token over all items is summed over micro-batches, any other is averaged.
        share = 1 if self.loss_ignores_num_items else 1 / self._micro_batches
        return loss + share * sum(penalties) if penalties else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the library's optimizer, with the hooks' parameter groups if there are any."""
        if self.optimizer is None and any(overrides(hook, "parameter_groups") for hook in self.hooks):
            trained: Any = self.model if model is None else model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
            if is_optimizer_factory(kind) or options.keys() & {"params", "model", "optimizer_dict"}:
                raise own_groups(self.args.optim)
            groups = plain_groups(trained, self.get_decay_parameter_names(trained), self.args.weight_decay)
            for hook in self.hooks:
                groups = hook.parameter_groups(groups)
            self.optimizer_cls_and_kwargs = (kind, {**options, "params": for_torch(groups, trained)})
        return super().create_optimizer(model)

    def extra_weights(self) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Return weights beside the model's that are saved with it, by file."""
        return {}

    def _get_learning_rate(self) -> float:
        """Return the highest rate of all groups; the library reports the first group's."""
        optimizer: Any = self.optimizer
        return max(float(group["lr"]) for group in optimizer.param_groups)

    def training_step(self, model: torch.nn.Module, inputs: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *arguments, **named)
        if not torch.isfinite(loss):  # the library would log the mean of the earlier losses instead
            raise NotFinite(self.state.global_step + 1, float(loss), self._rows_of(inputs))
        return loss

    def _rows_of(self, inputs: Mapping[str, torch.Tensor]) -> list[str]:
        """Return `file:line` of the rows of a batch, found by their tokens."""
        rows = self.train_dataset
        if not isinstance(rows, TokenRows) or not {"input_ids"} <= inputs.keys() & {*rows.table.column_names}:
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
