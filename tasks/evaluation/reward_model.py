"""Scores of a trained reward model."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from tasks.data.chat.encode import tokenize
from tasks.data.chat.template import Template
from tasks.data.tokens.collate import PadBatch
from tasks.evaluation.opened import Opened
from tasks.evaluation.rewards import Rewards, Scoring, rewards_of
from tasks.models.assemble import untrained_model
from tasks.models.bases.tokenizer import read_tokenizer

BATCH = 16


def judging(planned: Mapping[str, Any], judges: Mapping[str, Opened]) -> Rewards:
    """Return what rewards answers in a training.

    Args:
        planned: `plan.json`. judges: `reward_model`, stage 3b's artifact, if there is one.
    """
    return rewards_of(planned["loss_options"], scoring(judges["reward_model"]) if judges else None)


def scoring(saved: Opened) -> Scoring:
    """Return a function from conversations to a reward model's scores; the model is loaded when it is first called."""

    @cache
    def load() -> "RewardModel":
        model = untrained_model(saved.view(), saved.externals(), saved.json("load.json"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        processor, longest = saved.json("processor.json"), saved.json("base.json")["max_length"]
        return RewardModel(model.to(device), read_tokenizer(saved.view()), processor, longest)

    return lambda conversations: load()(conversations)


class RewardModel:
    """Scores conversations, as its own chat template renders them.

    Args:
        longest: tokens of a conversation at most; of a longer one the beginning is left out.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Mapping[str, Any], longest: int) -> None:
        self.model, self.longest = model, longest
        self.tokenizer, self.template, self.collate = tokenizer, Template(tokenizer), PadBatch(processor)

    def __call__(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[float]:
        ids = [tokenize(self.tokenizer, self.template.text(each))[0][-self.longest :] for each in conversations]
        scores: list[float] = []
        order = np.argsort([-len(each) for each in ids], kind="stable")
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            for start in range(0, len(order), BATCH):
                rows = [{"input_ids": np.asarray(ids[at])} for at in order[start : start + BATCH]]
                batch = {name: each.to(self.model.device) for name, each in self.collate(rows).items()}
                scores += self.model(**batch).logits[:, 0].float().tolist()
        found = np.empty(len(ids))
        found[order] = scores
        return found.tolist()
