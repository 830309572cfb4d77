"""`eval.best` keeps the best of the evaluated models, `eval.patience` stops when there is none better for a while."""

from pathlib import Path

import pytest

from flows.finetune import pipeline
from tasks.config import RunConfig
from tasks.runtime.carry import carry_out
from tests.tiny import make_config

pytestmark = pytest.mark.slow


def test_the_best_model_is_kept_and_training_stops_early(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(
        bert, rows, tmp_path / "store", eval={"best": "loss", "patience": 2}, train__learning_rate=0.1,
        train__num_train_epochs=30,
    )  # fmt: skip
    done = carry_out(RunConfig.model_validate(config), pipeline)
    losses = [entry["eval_loss"] for entry in done.history if "eval_loss" in entry]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3  # two evaluations after the best one
    assert done.metrics["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_adapters_are_kept_best_too(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(
        bert, rows, tmp_path / "store", eval={"best": "loss"}, peft="lora", train__learning_rate=0.5,
        train__num_train_epochs=6,
    )  # fmt: skip
    done = carry_out(RunConfig.model_validate(config), pipeline)
    losses = [entry["eval_loss"] for entry in done.history if "eval_loss" in entry]
    assert min(losses) < losses[-1], "the last must not be the best, or nothing is shown"
    assert done.metrics["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_a_merged_adapter_says_the_same(bert: Path, rows: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    config = make_config(
        bert, rows, tmp_path / "store", peft="lora", export={"merge": True}, output_dir=str(tmp_path / "model")
    )
    done = carry_out(RunConfig.model_validate(config), pipeline)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    batch = done.tokenizer(["fruit bal ben"], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(merged(**batch).logits, done.model(**batch).logits, atol=1e-5)
