"""Rows of an earlier task during a training: which are drawn at a step, and their loss with the trained body."""

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch

from tasks.config.errors import ConfigError
from tasks.data.tokens.kept_rows import drawn_rows
from tasks.data.tokens.token_rows import tokens_of
from tasks.models.bodies import doing
from tasks.models.teachers import load_trained
from tasks.training.fisher import label_count, loss_of

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class OldRows:
    """The kept rows of one earlier task.

    Args:
        kept: an artifact of stage 8d. base: of stage 3, of the earlier model. live: the trained model.
        plan: of the training. field: that names the earlier model, for messages.

    Raises:
        ConfigError: the earlier model has no trained head for its rows, or another body than the trained one.
    """

    def __init__(self, kept: Any, base: Any, live: Any, plan: Mapping[str, Any], field: str) -> None:
        self.task, processor, given = kept.json("task.json"), kept.json("processor.json"), plan["arguments"]
        self.seed, self.size = plan["seed"], given["per_device_train_batch_size"]
        self.whole = self.size * (given.get("gradient_accumulation_steps") or 1)
        self.precision = next((dtype for name, dtype in PRECISIONS.items() if given.get(name)), None)
        table = tokens_of(kept.paths("train-"))
        assert table is not None
        self.rows = _named(self.task["view"])(table, processor, self.seed, self.task["options"])
        self.collate, self.live = _named(self.task["collate"])(processor), live
        self.loss = partial(_named(self.task["loss"]), **self.task["loss_options"]) if self.task["loss"] else None
        try:
            other = load_trained(base.view(external=True), base.externals(), self.task["auto_model"],
                                 kept.json("head.json"), processor["pad_token_id"], self.task["name"])  # fmt: skip
            self.model: Any = doing(other, live)
        except ConfigError as error:
            raise ConfigError(f"{field}: {error}") from error
        if self.model is not live:
            self._own().requires_grad_(False)
            self.model.config.use_cache = False
            self.model.train()

    def _own(self) -> torch.nn.ParameterList:
        """Return the parameters that are not the trained model's: the head."""
        shared = {id(each) for each in self.live.parameters()}
        return torch.nn.ParameterList([each for each in self.model.parameters() if id(each) not in shared])

    def losses(self, turn: int, micro_batches: int) -> Iterator[torch.Tensor | None]:
        """Yield a loss for each micro-batch, whose mean is that of all old rows of the step; None for a micro-batch
        without labels.

        Args:
            turn: how many steps had rows of this task before.
        """
        self._place()
        self.rows.enter_epoch(turn)  # rows that are masked get new masks
        at = drawn_rows(len(self.rows), turn * self.whole, micro_batches * self.size, self.seed)
        batches = [self.collate([self.rows[each] for each in at[start : start + self.size]])
                   for start in range(0, len(at), self.size)]  # fmt: skip
        counts = [label_count(batch, self.task["cross_entropy"]) for batch in batches]
        for batch, count in zip(batches, counts, strict=True):
            yield self._loss(batch) * (count * micro_batches / sum(counts)) if count else None

    def _loss(self, batch: Mapping[str, Any]) -> torch.Tensor:
        device = next(self.live.parameters()).device
        inputs = {name: each.to(device) for name, each in batch.items()}
        with torch.autocast(device.type, self.precision or torch.bfloat16, enabled=self.precision is not None):
            return loss_of(self.model, inputs, self.loss)

    def _place(self) -> None:
        """Move the head to the trained model's device and, if that is not in float32, convert it."""
        if self.model is self.live:
            return
        like = next(each for each in self.live.parameters() if each.is_floating_point())
        shared = {id(each) for each in (*self.live.parameters(), *self.live.buffers())}
        for each in (*self.model.parameters(), *self.model.buffers()):
            if id(each) not in shared:
                each.data = each.data.to(like.device, like.dtype if each.is_floating_point() else each.dtype)


def _named(part: str) -> Any:
    module, _, attribute = part.partition(":")
    return getattr(import_module(module), attribute)
