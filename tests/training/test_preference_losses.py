"""Losses and gradients of preferences are those of TRL's trainers, from the same rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tasks.config import DataConfig
from tasks.data.sources.locate import locate
from tasks.data.sources.read import read
from tasks.data.tokens.dataset import TokenRows
from tasks.evaluation.preferences import reference_log_probs
from tasks.objectives import OBJECTIVES
from tasks.objectives.base import named
from tests.selection import slow_except
from tests.tiny import make_chat, make_task_rows

LENGTH, ROWS = 32, 6
OPTIONS = {"beta": 0.3, "label_smoothing": 0.0, "simpo_gamma": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.7}
# TRL has these losses, with these names; simpo and orpo are in trainers of their own.
SHARED = [name for name in OBJECTIVES["dpo"].loss_types if name not in ("simpo", "orpo")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("preferences") / "chat", dropout=0.0)


def changed(model: Any) -> Any:
    """The model, moved a little, so that it is not its own reference."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def our_batch(task: str, base: Path, rows: Path) -> Mapping[str, torch.Tensor]:
    objective, tokenizer = OBJECTIVES[task], AutoTokenizer.from_pretrained(base)
    data = DataConfig(train=str(rows), split={"validation": 0.0}, leakage="off")
    table = read(locate(str(rows), "data.train"), "auto", "utf-8", "data.train").table
    prepared = objective.component("prepare")({"train": table}, data, objective.roles).splits["train"]
    shape = {"max_length": LENGTH, "overlong": "truncate"}
    tokens = objective.component("encode")(prepared, tokenizer, shape, "data.train", False).table
    processor = {"pad_token_id": tokenizer.pad_token_id, "padding_side": "right"}
    view = TokenRows(tokens, processor)
    return objective.component("collate")(processor)([view[at] for at in range(len(view))])


def their_rows(rows: Path) -> Any:
    from datasets import Dataset

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    found = [json.loads(line) for line in rows.read_text().splitlines()]
    return Dataset.from_list(
        [{"prompt": turn("user", row["prompt"]),
          **{side: turn("assistant", row[side]) for side in ("chosen", "rejected", "completion") if side in row},
          **({"label": row["label"]} if "label" in row else {})} for row in found]
    )  # fmt: skip


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "per_device_train_batch_size": ROWS, "max_length": LENGTH, "report_to": "none",
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True,
        "train_sampling_strategy": "sequential", "logging_strategy": "no",
    }  # fmt: skip


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters() if parameter.grad is not None])


def equal_to(ours: Any, theirs: Any, losses: tuple[torch.Tensor, torch.Tensor]) -> None:
    for loss in losses:
        loss.backward()
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    one, other = gradients(ours), gradients(theirs)
    assert (one - other).norm() <= 1e-4 * other.norm()
    assert other.norm() > 1e-4


def our_loss(task: str, base: Path, rows: Path, model: Any, options: Mapping[str, Any]) -> torch.Tensor:
    batch = dict(our_batch(task, base, rows))
    with torch.no_grad():
        batch["reference"] = reference_log_probs(AutoModelForCausalLM.from_pretrained(base), batch)
    return named(OBJECTIVES[task].loss or "")(model, batch, **options)[0]


@pytest.mark.parametrize("loss_type", slow_except(["sigmoid", "ipo"], SHARED))
def test_dpo(loss_type: str, base: Path, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    options = OPTIONS | {"loss_type": loss_type, "label_smoothing": 0.1 if loss_type in ("robust", "exo_pair") else 0.0}
    rows = make_task_rows(tmp_path / "rows.jsonl", "dpo", ROWS)
    ours, theirs = (changed(AutoModelForCausalLM.from_pretrained(base)) for _ in range(2))
    arguments = DPOConfig(**settings(tmp_path), beta=0.3, loss_type=[loss_type],
                          label_smoothing=options["label_smoothing"])  # fmt: skip
    trainer = DPOTrainer(
        theirs, AutoModelForCausalLM.from_pretrained(base), arguments, train_dataset=their_rows(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    equal_to(ours, theirs, (our_loss("dpo", base, rows, ours, options), trainer.compute_loss(theirs, batch)))


def test_reward(base: Path, tmp_path: Path) -> None:
    from trl import RewardConfig, RewardTrainer

    rows = make_task_rows(tmp_path / "rows.jsonl", "reward", ROWS)
    tokenizer = AutoTokenizer.from_pretrained(base)
    more = {"num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(changed(AutoModelForSequenceClassification.from_pretrained(base, **more)))
    ours, theirs = models
    trainer = RewardTrainer(theirs, RewardConfig(**settings(tmp_path), center_rewards_coefficient=0.01),
                            train_dataset=their_rows(rows), processing_class=tokenizer)  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    loss, _ = named(OBJECTIVES["reward"].loss or "")(
        ours, our_batch("reward", base, rows), center_rewards_coefficient=0.01
    )
    equal_to(ours, theirs, (loss, trainer.compute_loss(theirs, batch)))


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto(loss_type: str, base: Path, tmp_path: Path) -> None:
    """Both mismatch each prompt with another row's answer; TRL with one of the batch, in the opposite direction, so all
    answers are alike here."""
    from trl import KTOConfig, KTOTrainer

    rows = make_task_rows(tmp_path / "rows.jsonl", "kto", ROWS)
    found = [json.loads(line) | {"completion": "ren"} for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps(row) + "\n" for row in found))
    ours, theirs = (changed(AutoModelForCausalLM.from_pretrained(base)) for _ in range(2))
    arguments = KTOConfig(**settings(tmp_path), beta=0.3, loss_type=loss_type, desirable_weight=1.5,
                          undesirable_weight=0.7)  # fmt: skip
    trainer = KTOTrainer(
        theirs, AutoModelForCausalLM.from_pretrained(base), arguments, train_dataset=their_rows(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    options = OPTIONS | {"loss_type": loss_type}
    equal_to(ours, theirs, (our_loss("kto", base, rows, ours, options), trainer.compute_loss(theirs, batch)))
