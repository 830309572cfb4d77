"""`eval.best` keeps the best of the evaluated models, `eval.patience` stops when there is none better for a while."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, TrainerState

from flows.pipeline import pipeline
from tasks.config import RunConfig
from tasks.config.errors import Interrupted
from tasks.execution.execute import CallerOptions, execute, with_caller
from tasks.runtime.context import Paused
from tasks.training.callbacks.control import Cadence, Watch
from tests.tiny import make_config

pytestmark = pytest.mark.slow


def test_the_best_model_is_kept_and_training_stops_early(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(
        bert, rows, tmp_path / "store", eval={"best": "loss", "patience": 2}, train__learning_rate=0.1,
        train__num_train_epochs=30,
    )  # fmt: skip
    done = execute(RunConfig.model_validate(config), pipeline)
    losses = [entry["eval_loss"] for entry in done.history if "eval_loss" in entry]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3  # two evaluations after the best one
    assert done.metrics["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_adapters_are_kept_best_too(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(
        bert, rows, tmp_path / "store", eval={"best": "loss"}, peft="lora", train__learning_rate=0.5,
        train__num_train_epochs=6,
    )  # fmt: skip
    done = execute(RunConfig.model_validate(config), pipeline)
    losses = [entry["eval_loss"] for entry in done.history if "eval_loss" in entry]
    assert min(losses) < losses[-1], "the last must not be the best, or nothing is shown"
    assert done.metrics["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_patience_goes_on_counting_after_an_interruption(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after one evaluation without improvement: the resumed run must not be patient all over again."""

    def config(store: str) -> RunConfig:
        more = {"train__learning_rate": 0.1, "train__num_train_epochs": 30, "train__save_strategy": "epoch"}
        best = {"best": "loss", "patience": 2}
        return RunConfig.model_validate(make_config(bert, rows, tmp_path / store, eval=best, **more))

    whole = execute(config("whole"), pipeline)
    steps = [entry["step"] for entry in whole.history if "eval_loss" in entry]

    def stop(self: Cadence, args: object, state: TrainerState, control: object, **_: object) -> None:
        if state.global_step == steps[-2]:
            raise Interrupted("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Cadence, "on_save", stop)
        with pytest.raises(Interrupted):
            execute(config("stopped"), pipeline)
    resumed = execute(config("stopped"), pipeline)
    assert [entry["step"] for entry in resumed.history if "eval_loss" in entry] == steps
    weights = [run.artifacts["s09_train"].members["model.safetensors"].sha256 for run in (whole, resumed)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("how", ["paused", "signalled"])
def test_a_stop_within_an_epoch_is_not_an_evaluation(
    how: str, bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss rises at first, so an evaluation in the middle of the first epoch would be the best for ever."""

    def config(store: str) -> RunConfig:
        more = {"train__learning_rate": 1e-2, "train__num_train_epochs": 3, "train__weight_decay": 0.0}
        return RunConfig.model_validate(make_config(bert, rows, tmp_path / store, eval={"best": "loss"}, **more))

    whole = execute(config("whole"), pipeline)

    def signal_after_four(self: Watch, args: object, state: TrainerState, control: object, **_: object) -> None:
        if state.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    if how == "paused":
        with with_caller(CallerOptions(until=0.2)):
            assert isinstance(paused := execute(config("stopped"), pipeline), Paused)
        assert paused.step == 5 and "eval_loss" in paused.metrics
    else:
        with monkeypatch.context() as patch, pytest.raises(Interrupted, match="after step 5 of 24"):
            patch.setattr(Watch, "on_step_end", signal_after_four)
            execute(config("stopped"), pipeline)
    resumed = execute(config("stopped"), pipeline)
    assert next(entry for entry in resumed.history if "eval_loss" in entry)["step"] == 8
    weights = [run.artifacts["s09_train"].members["model.safetensors"].sha256 for run in (whole, resumed)]
    assert weights[0] == weights[1]


def test_an_adapter_is_saved_with_all_its_base_lacks(bert: Path, rows: Path, tmp_path: Path) -> None:
    """A base without a pooler: it is drawn at random here, and a folder without it would draw another one."""
    base = tmp_path / "headless"
    shutil.copytree(bert, base)
    tensors = load_file(base / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "pooler" not in name}, base / "model.safetensors",
        metadata={"format": "pt"},
    )  # fmt: skip
    config = make_config(base, rows, tmp_path / "store", peft="lora", output_dir=str(tmp_path / "model"))
    done = execute(RunConfig.model_validate(config), pipeline)
    elsewhere = AutoModelForSequenceClassification.from_pretrained(
        base, config=AutoConfig.from_pretrained(tmp_path / "model")
    )
    elsewhere = PeftModel.from_pretrained(elsewhere, str(tmp_path / "model")).eval()
    batch = done.tokenizer(["fruit bal ben"], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(elsewhere(**batch).logits, done.model(**batch).logits)


def test_a_new_model_leaves_nothing_of_the_old_one(bert: Path, rows: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for peft in ("lora", "none"):
        config = make_config(bert, rows, tmp_path / "store", peft=peft, output_dir=str(folder), train__max_steps=2)
        done = execute(RunConfig.model_validate(config), pipeline)
        (folder / "notes.txt").write_text("mine")
    names = {path.name for path in folder.iterdir()}
    ours = {"finetune.json", "config.resolved.yaml", "report.html"}
    assert names == {*done.artifacts["s11_save"].members, *ours, "notes.txt"}
    assert not any("adapter" in name for name in names)


def test_a_merged_adapter_says_the_same(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(
        bert, rows, tmp_path / "store", peft="lora", export={"merge": True}, output_dir=str(tmp_path / "model")
    )
    done = execute(RunConfig.model_validate(config), pipeline)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    batch = done.tokenizer(["fruit bal ben"], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(merged(**batch).logits, done.model(**batch).logits, atol=1e-5)
