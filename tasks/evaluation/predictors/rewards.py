"""Predictions of models that learn from rewards: their answers, with the rewards."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tasks.data.chat.template import ends
from tasks.evaluation.predictor import BatchPredictions, lineage
from tasks.evaluation.rewards import Rewards
from tasks.models.rollout import Sampling, ended, generate


class RewardPredictor:
    """The likeliest answer to each prompt, at most `max_completion_length` tokens, and its rewards.

    Predictions:
        `prediction`: the answer. `reward`: the weighted sum; `reward_<name>`: from each source, null where it has none.
        `completion_length`: tokens. `truncated`: whether it has no end token.
    """

    windows = False

    def __init__(self, tokenizer: Any, options: Mapping[str, Any], rewards: Rewards, **_: object) -> None:
        self.tokenizer, self.options, self.rewards = tokenizer(), options, rewards
        self.found = pa.schema([
            ("prediction", pa.string()), ("reward", pa.float64()),
            *((f"reward_{name}", pa.float64()) for name in rewards.names),
            ("completion_length", pa.int32()), ("truncated", pa.bool_()),
        ])  # fmt: skip

    def batch(self, model: Any, batch: Mapping[str, Any]) -> BatchPredictions:
        stops = ends(self.tokenizer, model.generation_config.eos_token_id)
        sampling = Sampling(self.options["max_completion_length"], stops, self.tokenizer.pad_token_id)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        found = [ended(row, stops) for row in generate(model, inputs, sampling)]
        ids = [tokens for tokens, _ in found]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        rewards = self.rewards(batch["row"], texts, ids)
        columns = {
            "prediction": texts, "reward": self.rewards.total(rewards), "completion_length": [*map(len, ids)],
            "truncated": [not whole for _, whole in found],
        } | {f"reward_{name}": pa.array(each, from_pandas=True)
             for name, each in zip(self.rewards.names, rewards.T, strict=True)}  # fmt: skip
        return BatchPredictions(columns, 0.0, 0.0)

    def rows(self, found: pa.Table, tokens: pa.Table) -> pa.Table:
        return pa.table(lineage(tokens) | {name: found[name] for name in found.column_names})
