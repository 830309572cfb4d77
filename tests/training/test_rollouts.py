"""Sampling of answers, their rewards and advantages, against other formulations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tasks.config import ConfigError
from tasks.config.errors import TrainingError
from tasks.evaluation.reward_functions import final_answer, think_format
from tasks.evaluation.rewards import Rewards, reward_function
from tasks.models.generation import positions_of
from tasks.models.rollout import Chooser, Sampling, draws, joined, sample, token_terms
from tasks.training.rollouts.advantages import generalized_advantages, group_advantages, token_weights, whitened
from tasks.training.rollouts.repeated import RepeatedBlocks
from tests.tiny import make_chat

ROW = '{"prompt": [{"role": "user", "content": "2 + 2"}], "columns": {"answer": "#### 4"}}'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("rollouts") / "chat", dropout=0.0)


def sampled(base: Path, texts: list[str], **options: Any) -> list[tuple[list[int], bool]]:
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    chosen = np.concatenate([draws((7, 0, at), 1, 12) for at in range(len(texts))])
    with torch.no_grad():
        return sample(model, inputs, Sampling(12, [tokenizer.eos_token_id], tokenizer.pad_token_id, **options), chosen)


def test_tokens_are_drawn_from_the_model_s_distribution() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, 3.0]])
    numbers = torch.from_numpy(draws((1, 2), 20_000, 1))
    found = Chooser(numbers, Sampling(1, [], 0, temperature=2.0))(torch.zeros(1), scores.expand(20_000, -1))
    shares = torch.bincount(found.argmax(-1), minlength=5) / 20_000
    assert torch.isinf(found).sum() == 4 * 20_000
    assert torch.allclose(shares, (scores / 2).softmax(-1)[0], atol=0.015)
    few = Chooser(numbers, Sampling(1, [], 0, top_k=2))(torch.zeros(1), scores.expand(20_000, -1))
    assert set(few.argmax(-1).tolist()) == {0, 4}
    nucleus = Chooser(numbers, Sampling(1, [], 0, top_p=0.5))(torch.zeros(1), scores.expand(20_000, -1))
    assert set(nucleus.argmax(-1).tolist()) == {4}


def test_an_answer_does_not_depend_on_the_rows_beside_it(base: Path) -> None:
    texts = ["ball", "stock market film", "ball song vote game"]
    together = sampled(base, texts)
    assert together == [
        *sampled(base, texts[:1]),
        *sampled(base, ["film", *texts[1:]])[1:],
    ]
    assert len({tuple(tokens) for tokens, _ in together}) == 3
    assert all(len(tokens) <= 12 and whole == (tokens[-1] == 1 or len(tokens) < 12) for tokens, whole in together)


@pytest.mark.parametrize("method", [PromptTuningConfig, PrefixTuningConfig, LoraConfig])
def test_an_adapter_s_answer_does_not_depend_on_padding(method: Any) -> None:
    torch.manual_seed(3)
    shape = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    virtual = {} if method is LoraConfig else {"num_virtual_tokens": 5}
    base = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.6))  # positions are learned, so a shift matters
    model: Any = get_peft_model(base, method(task_type="CAUSAL_LM", **virtual)).eval()
    assert positions_of(model) == 64 - len(virtual) * 5
    texts, numbers = [[7, 8, 9, 10, 11, 12, 13, 14], [5], [5, 6]], draws((7,), 3, 8)

    def said(rows: list[int]) -> list[list[int]]:
        width = max(len(texts[at]) for at in rows)
        ids = torch.tensor([[0] * (width - len(texts[at])) + texts[at] for at in rows])
        with torch.no_grad():
            found = sample(
                model, {"input_ids": ids, "attention_mask": (ids > 0).long()}, Sampling(8, [], 0), numbers[rows]
            )
        return [tokens for tokens, _ in found]

    assert said([0, 1, 2]) == [said([at])[0] for at in range(3)]


def test_log_probabilities_are_those_of_each_conversation_alone(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    prompts, answers = [[5, 6, 7], [8]], [[9, 4], [3, 5, 6, 2]]
    batch = joined(prompts, answers, 0)
    with torch.no_grad():
        found = token_terms(model, batch, temperature=0.7)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0].float() / 0.7
            for at, token in enumerate(answer, len(prompt)):
                known = logits[at - 1].log_softmax(-1)
                assert float(found.log_probs[row, at]) == pytest.approx(float(known[token]), abs=1e-5)
                assert float(found.entropy[row, at]) == pytest.approx(float(-(known.exp() * known).sum()), abs=1e-4)
    assert not found.log_probs[~batch["completion_mask"].bool()].any()
    assert found.hidden.shape == (6, model.config.hidden_size)


def test_generalized_advantages_are_discounted_sums_of_errors() -> None:
    drawn = np.random.default_rng(3)
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]])
    rewards = torch.from_numpy(drawn.normal(size=(2, 6)))
    values = torch.from_numpy(drawn.normal(size=(2, 6))) * mask
    advantages, returns = generalized_advantages(rewards, values, mask, gamma=0.9, lam=0.8)
    for row in range(2):
        places = mask[row].nonzero()[:, 0].tolist()
        errors = [float(rewards[row, at] + 0.9 * (values[row, at + 1] if at + 1 in places else 0) - values[row, at])
                  for at in places]  # fmt: skip
        for first, at in enumerate(places):
            expected = sum((0.9 * 0.8) ** n * error for n, error in enumerate(errors[first:]))
            assert float(advantages[row, at]) == pytest.approx(expected)
            assert float(returns[row, at]) == pytest.approx(expected + float(values[row, at]))
    assert not advantages[mask == 0].any()


def test_whitened_values_have_mean_0_and_variance_1() -> None:
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    found = whitened(torch.tensor([[9.0, 1.0, 2.0], [3.0, 6.0, 9.0]]), mask)[mask.bool()]
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.var(unbiased=False)) == pytest.approx(1, abs=1e-5)


def test_answers_are_compared_with_those_to_the_same_prompt() -> None:
    rewards = torch.tensor([1.0, 0.0, 5.0, 5.0])
    assert group_advantages(rewards, 2, "none").tolist() == [0.5, -0.5, 0.0, 0.0]
    scaled = group_advantages(rewards, 2, "group")
    assert scaled[:2].tolist() == pytest.approx([0.5 / (0.5**0.5 + 1e-4), -0.5 / (0.5**0.5 + 1e-4)])
    assert group_advantages(rewards, 2, "batch")[0] == pytest.approx(0.5 / (float(rewards.std()) + 1e-4))


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_weights_of_micro_batches_are_those_of_the_whole_step(loss_type: str) -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]).float()
    (whole,) = token_weights([mask], loss_type, 8)
    assert torch.equal(torch.cat(token_weights([mask[:1], mask[1:]], loss_type, 8)), whole)
    per_answer = {"dapo": [0.4, 0.1, 0.2, 0.3], "grpo": [0.25] * 4, "dr_grpo": [4 / 32, 1 / 32, 2 / 32, 3 / 32]}
    assert whole.sum(1).tolist() == pytest.approx(per_answer[loss_type])


def test_each_full_block_of_rows_is_repeated() -> None:
    found = RepeatedBlocks(range(7), 3, 2)
    assert [*found] == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert len(found) == 12


def test_rewards_are_called_as_trl_calls_them() -> None:
    def named(completions: Any, answer: Any) -> list[float]:
        return [len(each[0]["content"]) + len(right) for each, right in zip(completions, answer, strict=True)]

    def partly(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float | None]:
        assert prompts[0] == [{"role": "user", "content": "2 + 2"}]
        return [None, *map(len, completion_ids[1:])]

    rewards = Rewards({"final_answer": final_answer, "named": named, "partly": partly}, [1.0, 0.5, 2.0])
    found = rewards([ROW, ROW], ["it is 4", "5"], [[1, 2], [3]])
    assert np.array_equal(found, np.array([[1, 13, np.nan], [0, 7, 1]]), equal_nan=True)
    assert rewards.total(found).tolist() == [1 + 6.5, 3.5 + 2]
    thinking = [[{"content": text}] for text in ("<think>a</think> b", "<think>a", "b")]
    assert think_format(None, thinking) == [1, 0, 0]


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda **_: [1.0], "2 answers"), (lambda **_: [1.0, "a"], "could not convert"), (lambda **_: 1 / 0, "division"),
     (lambda **_: [float("inf"), 0], "infinite"), (lambda **_: [None, 1.0], "none of it has a reward")],
)  # fmt: skip
def test_rewards_that_cannot_be_used_are_named(function: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Rewards({"it": function}, [1.0])([ROW, ROW], ["4", "5"], [[1], [2]])


def test_a_reward_function_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"rl.reward_funcs: 'final_anser' .* did you mean 'final_answer'"):
        reward_function("final_anser")
    with pytest.raises(ConfigError, match=r"'tests.rewards:early_leters'.* did you mean 'early_letters'"):
        reward_function("tests.rewards:early_leters")
