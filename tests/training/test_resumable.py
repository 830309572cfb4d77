"""The checkpoint mixin before other trainers than ours: a training that was stopped ends in the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from tasks.training.callbacks.control import Cadence, StopOnSignal
from tasks.training.checkpoints import newest_whole
from tasks.training.resumable import ResumableTrainer
from tests.tiny import WORDS, make_decoder

COMMON: dict[str, Any] = {
    "max_steps": 5, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "use_cpu": True, "report_to": "none",
    "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "seed": 3,
}  # fmt: skip
TEXTS = [" ".join(WORDS[at : at + 3 + at % 5]) for at in range(16)]


class Plain(ResumableTrainer, Trainer):
    """transformers' own."""


def plain(model: Any, tokenizer: Any, folder: Path, **ours: Any) -> ResumableTrainer:
    ids = [tokenizer(text, padding="max_length", max_length=8, truncation=True)["input_ids"] for text in TEXTS]
    rows = Dataset.from_list([{"input_ids": each, "labels": each} for each in ids])
    return Plain(model=model, args=TrainingArguments(str(folder), **COMMON), train_dataset=rows, **ours)


def sft(model: Any, tokenizer: Any, folder: Path, **ours: Any) -> ResumableTrainer:
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    class Ours(ResumableTrainer, SFTTrainer):
        """TRL's."""

    rows = Dataset.from_list([{"text": text} for text in TEXTS])
    arguments = SFTConfig(str(folder), bf16=False, max_length=16, **COMMON)
    return Ours(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, **ours)


def trained(make: Any, base: Path, folder: Path, stop_after: int | None) -> dict[str, torch.Tensor]:
    """Train in `folder`, going on from a checkpoint in it; `stop_after` leaves one at that step and stops."""
    torch.manual_seed(7)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    folder.mkdir(exist_ok=True)
    resumed, stop = newest_whole(folder), StopOnSignal()
    cadence = Cadence(0, "no", 500, resumed)
    ours = {"keep": 1, "on_commit": lambda path: None, "on_remove": lambda name: None, "stop": stop}
    trainer = make(model, tokenizer, folder, callbacks=[stop, cadence], **ours)
    cadence.trainer = trainer
    step = trainer.training_step

    def counted(*arguments: Any, **named: Any) -> torch.Tensor:
        if trainer.state.global_step + 1 == stop_after:
            stop.caught = 15
        return step(*arguments, **named)

    trainer.training_step = counted
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    assert trainer.state.global_step == (stop_after or COMMON["max_steps"])
    return {name: each.detach().clone() for name, each in model.named_parameters()}


@pytest.mark.parametrize("make", [plain, pytest.param(sft, marks=pytest.mark.slow)], ids=["transformers", "trl"])
def test_stopped_and_gone_on_with(make: Any, tmp_path: Path) -> None:
    base = make_decoder(tmp_path / "base")
    whole = trained(make, base, tmp_path / "whole", None)
    half = trained(make, base, tmp_path / "stopped", 3)
    assert any(not half[name].equal(whole[name]) for name in whole)
    assert not list((tmp_path / "stopped").rglob("*.pt")) and not list((tmp_path / "stopped").rglob("*.bin"))
    resumed = trained(make, base, tmp_path / "stopped", None)
    assert all(resumed[name].equal(whole[name]) for name in whole)
