"""Losses and gradients of policies: GRPO's are those of TRL, PPO's those of its definition."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.models.rollout import joined, token_terms
from tasks.training.rollouts.advantages import group_advantages, token_weights
from tasks.training.rollouts.losses import grpo_loss, ppo_loss
from tasks.training.rollouts.ppo import ValueHead
from tests.selection import slow_except
from tests.tiny import make_chat

PROMPTS = [[5, 6, 7], [5, 6, 7], [8, 9], [8, 9]]
ANSWERS = [[9, 4, 1], [3, 5, 6, 2, 1], [4, 1], [2, 2, 2, 2, 2, 2]]
REWARDS = torch.tensor([1.0, 0.0, 0.3, 0.8])
LIMIT = 6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("policies") / "chat", dropout=0.0)


def moved(model: Any, seed: int = 5, by: float = 0.03) -> Any:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn_like(parameter)
    return model


def model_of(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base)


def batch_of(base: Path, loss_type: str) -> dict[str, torch.Tensor]:
    batch = joined(PROMPTS, ANSWERS, 0)
    with torch.no_grad():
        for name, model in (("reference", model_of(base)), ("old", moved(model_of(base), seed=8))):
            batch[f"{name}_log_probs"] = token_terms(model, batch, 0.9).log_probs
    batch["advantages"] = group_advantages(REWARDS, 2, "group")[:, None]
    (batch["weights"],) = token_weights([batch["completion_mask"].float()], loss_type, LIMIT)
    return batch


def their_loss(base: Path, loss_type: str, model: Any, batch: dict[str, torch.Tensor], folder: Path) -> torch.Tensor:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=4, num_generations=2, max_completion_length=LIMIT,
        beta=0.1, epsilon=0.05, epsilon_high=0.1, temperature=0.9, loss_type=loss_type, report_to="none", use_cpu=True,
        bf16=False, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 2), processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    given: dict[str, Any] = {"advantages": batch["advantages"][:, 0]}
    for name, rows, left in (("prompt", PROMPTS, True), ("completion", ANSWERS, False)):
        width = max(map(len, rows))
        ids, mask = torch.zeros((4, width), dtype=torch.long), torch.zeros((4, width), dtype=torch.long)
        for at, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[at, place], mask[at, place] = torch.tensor(row), 1
        given |= {f"{name}_ids": ids, f"{name}_mask": mask}
    for ours, theirs in (("old_log_probs", "old_per_token_logps"), ("reference_log_probs", "ref_per_token_logps")):
        given[theirs] = torch.zeros((4, LIMIT))
        for at, answer in enumerate(ANSWERS):
            given[theirs][at, : len(answer)] = batch[ours][at][batch["completion_mask"][at].bool()]
    given["num_items_in_batch"] = given["completion_mask"].sum()
    return trainer._compute_loss(trainer.model, given)


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([each.grad.reshape(-1) for each in model.parameters() if each.grad is not None])


@pytest.mark.parametrize("loss_type", slow_except(["dapo"], ["dapo", "grpo", "dr_grpo"]))
def test_the_loss_of_grpo_is_trl_s(loss_type: str, base: Path, tmp_path: Path) -> None:
    batch = batch_of(base, loss_type)
    ours, theirs = moved(model_of(base)), moved(model_of(base))
    loss, stats = grpo_loss(ours, batch, temperature=0.9, beta=0.1, epsilon=0.05, epsilon_high=0.1)
    other = their_loss(base, loss_type, theirs, batch, tmp_path)
    for each in (loss, other):
        each.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    assert (gradients(ours) - gradients(theirs)).norm() <= 1e-4 * gradients(theirs).norm()
    assert 0 < stats["clip_fraction"][0] < stats["clip_fraction"][1], "some ratios are clipped, others are not"


def test_the_loss_of_ppo_is_its_definition(base: Path) -> None:
    model, batch, head = moved(model_of(base)), batch_of(base, "dapo"), ValueHead(32)
    torch.nn.init.normal_(head.weight)
    mask = batch["completion_mask"].bool()
    torch.manual_seed(2)
    for name in ("advantages", "returns", "old_values"):
        batch[name] = torch.randn(mask.shape) * mask
    loss, _ = ppo_loss(model, batch, value=head, temperature=0.9, epsilon=0.05, cliprange_value=0.3, vf_coef=0.4)
    terms: list[float] = []
    with torch.no_grad():
        for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
            found = model(torch.tensor([[*prompt, *answer]]), output_hidden_states=True)
            for at, token in enumerate(answer, len(prompt)):
                log_prob = (found.logits[0, at - 1] / 0.9).log_softmax(-1)[token]
                value = float(found.hidden_states[-1][0, at - 1] @ head.weight + head.bias)
                advantage, target, old = (
                    float(batch[name][row, at]) for name in ("advantages", "returns", "old_values")
                )
                ratio = float((log_prob - batch["old_log_probs"][row, at]).exp())
                policy = max(-advantage * ratio, -advantage * min(max(ratio, 0.95), 1.05))
                near = old + min(max(value - old, -0.3), 0.3)
                terms.append(policy + 0.4 * max((value - target) ** 2, (near - target) ** 2) / 2)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
