"""The trainer of tasks that learn from rewards of their own answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tasks.data.chat.template import ends
from tasks.evaluation.rewards import Rewards
from tasks.models.rollout import Sampling, draws, joined, sample, token_terms
from tasks.training.preferences import disable_dropout
from tasks.training.rollouts.losses import Stats
from tasks.training.rollouts.reference import Reference
from tasks.training.rollouts.repeated import RepeatedBlocks
from tasks.training.rollouts.state import RolloutState
from tasks.training.trainer import FinetuneTrainer

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Answers:
    """The answers of a step.

    Attributes:
        batches: with their prompts, one for each micro-batch (see `tasks.models.rollout.joined`).
        rewards: of each answer, float32. ended: whether it has an end token. sizes: answers in each micro-batch.
    """

    batches: list[Batch]
    rewards: torch.Tensor
    ended: torch.Tensor
    sizes: Sequence[int]


class RolloutTrainer(FinetuneTrainer):
    """Samples answers to the prompts of each optimizer step, rewards them, and trains on them for
    `num_iterations` steps.

    The answers of a step depend on the weights before it, on the seed, and on nothing else: a resumed training samples
    them again; between steps on the same answers, checkpoints have them.

    Args:
        tokenizer: the base's. rewards: of answers. arguments: those of `FinetuneTrainer`; the keywords of its `loss`
            are the fields of the section `rl`.
    """

    def __init__(self, *, tokenizer: Any, rewards: Rewards, **arguments: Any) -> None:
        super().__init__(**arguments)
        assert self.own_loss is not None
        options: Mapping[str, Any] = self.own_loss.keywords  # type: ignore[attr-defined]
        self.tokenizer, self.rewards, self.options = tokenizer, rewards, options
        if options["disable_dropout"]:
            disable_dropout(self.model)
        model: Any = self.model
        self.sampling = Sampling(
            options["max_completion_length"], ends(tokenizer, model.generation_config.eos_token_id),
            tokenizer.pad_token_id, options["temperature"], options["top_k"], options["top_p"],
        )  # fmt: skip
        self.iterations, self.generations = options["num_iterations"], options["num_generations"]
        self.reference = Reference(model) if self.needs_reference() else None
        self.rollout = RolloutState(self.iterations)
        self.hooks = [*self.hooks, self.rollout]

    def needs_reference(self) -> bool:
        """Whether the model before training is needed."""
        raise NotImplementedError

    def assess(self, answers: Answers) -> None:
        """Add to each micro-batch what the loss needs, `weights` included, in tensors of the batch's device."""
        raise NotImplementedError

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        prompts, items = super().get_batch_samples(*arguments, **named)
        step = self.state.global_step
        if prompts and (step % self.iterations == 0 or not self.rollout.batches):
            self.rollout.batches = self._roll_out(prompts, step // self.iterations)
        self.rollout.step = step
        return (self.rollout.batches if prompts else prompts), items

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        order = super()._get_train_sampler(train_dataset)
        block = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return order if self.iterations == 1 or order is None else RepeatedBlocks(order, block, self.iterations)

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        """Log, with the means of rewards, divergence, entropy and lengths since the last time."""
        super().log({**logs, **self.rollout.means()} if "loss" in logs else logs, *arguments, **named)

    def take_up(self, checkpoint: Any) -> None:
        self._load_hooks(checkpoint)
        super().take_up(checkpoint)

    def _loss(self, model: torch.nn.Module, inputs: Any, return_outputs: bool, *_: Any, **__: Any) -> Any:
        assert self.own_loss is not None
        loss, stats = self.own_loss(model, inputs)
        self.rollout.add(stats)
        return (loss, stats) if return_outputs else loss

    def _roll_out(self, prompts: Sequence[Mapping[str, Any]], number: int) -> list[Batch]:
        with self._inferring() as model:
            answers = self._answers(model, prompts, number)
            if self.reference is not None:
                with self.reference() as before:
                    for batch in answers.batches:
                        found = token_terms(before, batch, self.sampling.temperature)
                        batch["reference_log_probs"] = found.log_probs
            self.assess(answers)
        for batch in answers.batches:  # the library divides the loss of each by their number
            batch["weights"] = batch["weights"] * len(answers.batches)
        return answers.batches

    def _answers(self, model: Any, prompts: Sequence[Mapping[str, Any]], number: int) -> Answers:
        """Sample and reward the answers to the prompts of a step.

        Args:
            prompts: of each micro-batch. number: of the rollout in the training, counted from 0.
        """
        rows: list[str] = []
        ids: list[list[int]] = []
        ended: list[bool] = []
        batches: list[Batch] = []
        place = 0
        for given in prompts:
            repeated = self._prepare_inputs(
                {name: given[name].repeat_interleave(self.generations, 0) for name in ("input_ids", "attention_mask")}
            )
            chosen = [draws((int(self.args.seed), number, place + at), self.generations, self.sampling.max_new_tokens)
                      for at in range(len(given["row"]))]  # fmt: skip
            place += len(given["row"])
            found = sample(model, repeated, self.sampling, np.concatenate(chosen))
            asked = [row[mask.bool()].tolist() for row, mask in
                     zip(repeated["input_ids"], repeated["attention_mask"], strict=True)]  # fmt: skip
            batches.append(self._prepare_inputs(joined(asked, [tokens for tokens, _ in found], self.sampling.pad)))
            ids += [tokens for tokens, _ in found]
            ended += [whole for _, whole in found]
            rows += [row for row in given["row"] for _ in range(self.generations)]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return self._rewarded(batches, rows, texts, ids, ended)

    def _rewarded(
        self, batches: list[Batch], rows: Sequence[str], texts: Sequence[str], ids: Sequence[Sequence[int]],
        ended: Sequence[bool],
    ) -> Answers:  # fmt: skip
        found = self.rewards(rows, texts, ids)
        total, count = self.rewards.total(found), float(len(ids))
        stats: Stats = {"reward": (float(total.sum()), count), "reward_std": (float(total.std()), 1.0),
                        "completion_length": (float(sum(map(len, ids))), count),
                        "truncated": (count - sum(ended), count)}  # fmt: skip
        if len(self.rewards.names) > 1:
            stats |= {f"reward/{name}": (float(np.nansum(each)), float((~np.isnan(each)).sum()))
                      for name, each in zip(self.rewards.names, found.T, strict=True)}  # fmt: skip
        self.rollout.add(stats)
        device = batches[0]["input_ids"].device
        return Answers(
            batches, torch.tensor(total, dtype=torch.float32, device=device), torch.tensor(ended, device=device),
            [len(batch["input_ids"]) for batch in batches],
        )  # fmt: skip

    @contextmanager
    def _inferring(self) -> Iterator[Any]:
        """Within, the model computes without gradients and dropout, at the training's precision."""
        model: Any = self.model
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                yield model
        finally:
            model.train(training)
