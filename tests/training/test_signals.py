"""A signal that comes while a training evaluates: it stops at once, and who goes on ends in the same bits."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerState

from tasks.config.errors import Interrupted, Signalled
from tasks.results.finetuned import FineTuned
from tasks.training import state, trainer
from tasks.training.callbacks.control import StopOnSignal, Watch
from tasks.training.checkpoints import newest_whole
from tests.flow.scenes import executed
from tests.tiny import make_config

BY_STEPS = {"train__eval_strategy": "steps", "train__eval_steps": 3}
IMPATIENT = {"eval": {"best": "loss", "patience": 1}, "train__learning_rate": 0.1, "train__num_train_epochs": 9}


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def in_evaluation(number: int, patch: pytest.MonkeyPatch) -> None:
    """SIGTERM at the first batch of the `number`-th evaluation."""
    real, seen = trainer.predict_batches, [0]

    def predict_batches(model: Any, batches: Any, *rest: Any) -> Any:
        def signalled() -> Any:
            terminate()
            yield from batches

        seen[0] += 1
        return real(model, signalled() if seen[0] == number else batches, *rest)

    patch.setattr(trainer, "predict_batches", predict_batches)


def in_step(number: int, patch: pytest.MonkeyPatch) -> None:
    """SIGTERM in step `number`."""

    def signalled(self: Watch, args: object, state: TrainerState, control: object, **_: object) -> None:
        if state.global_step == number - 1:
            terminate()

    patch.setattr(Watch, "on_step_begin", signalled, raising=False)


def evaluations(done: FineTuned) -> list[tuple[int, float]]:
    return [(entry["step"], entry["eval_loss"]) for entry in done.history if "eval_loss" in entry]


@pytest.mark.parametrize(
    ("how", "number", "more", "said"),
    [
        (in_evaluation, 1, {"eval": {"best": "loss"}}, "after step 8 of 16"),
        (in_evaluation, 2, {"eval": {"best": "loss"}}, "after step 16 of 16"),
        (in_evaluation, 2, BY_STEPS, "after step 6 of 16"),
        (in_step, 3, BY_STEPS, "after step 3 of 16"),
        (in_step, 16, {}, "after step 16 of 16"),
        (in_evaluation, 2, IMPATIENT, "after step"),
    ],
    ids=["first", "last", "within an epoch", "a step that evaluates", "last step", "the one that ends it"],
)
@pytest.mark.slow
def test_an_evaluation_is_left_and_made_later(
    how: Callable[[int, pytest.MonkeyPatch], None], number: int, more: Mapping[str, Any], said: str, bert: Path,
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, stopped = (make_config(bert, rows, tmp_path / store, **more) for store in ("whole", "stopped"))
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"signal 15 {said}.*a checkpoint is saved"):
        how(number, patch)
        executed(stopped)
    expected, resumed = executed(whole), executed(stopped)
    assert evaluations(resumed) == evaluations(expected)
    if more is IMPATIENT:
        assert len(evaluations(resumed)) < 9
    weights = [run.artifacts["s09_train"].select("*.safetensors").digest for run in (expected, resumed)]
    assert weights[0] == weights[1]


def test_a_signal_in_an_evaluation_is_taken_at_once() -> None:
    stop = StopOnSignal()
    with stop.listening(), pytest.raises(Signalled), stop.evaluating():
        terminate()
    assert stop.stopped == signal.SIGTERM


def test_a_signal_before_the_last_evaluation_keeps_it_from_being_made() -> None:
    stop = StopOnSignal()
    with stop.listening():
        terminate()
        with pytest.raises(Signalled), stop.evaluating():
            raise AssertionError("it was made")


def test_a_signal_after_the_last_evaluation_waits_for_the_weights_to_be_published(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(bert, rows, tmp_path, train__max_steps=2)
    with monkeypatch.context() as patch, pytest.raises(Signalled):
        patch.setattr(Watch, "on_train_end", lambda *_, **__: terminate(), raising=False)
        executed(config)
    done = executed(config)
    assert {entry.stage: entry.state for entry in done.stages}["s09_train"] == "cached"


def in_saving(number: int, patch: pytest.MonkeyPatch) -> None:
    """A signal within the first checkpoint that is saved, while its optimizer is written."""
    real = state.save_scheduler

    def save_scheduler(*arguments: Any) -> None:
        os.kill(os.getpid(), number)
        real(*arguments)

    patch.setattr(state, "save_scheduler", save_scheduler)


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """SIGINT raises Signalled, as in a command."""

    def raise_signalled(number: int, _: object) -> None:
        raise Signalled(number)

    before = signal.signal(signal.SIGINT, raise_signalled)
    yield
    signal.signal(signal.SIGINT, before)


def signals_in_step(step: int, number: int, times: int, patch: pytest.MonkeyPatch) -> None:
    def signalled(self: Watch, args: object, state: TrainerState, control: object, **_: object) -> None:
        for _again in range(times if state.global_step == step - 1 else 0):
            os.kill(os.getpid(), number)

    patch.setattr(Watch, "on_step_begin", signalled, raising=False)


def test_more_sigterms_let_the_checkpoint_be_saved(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled sweep's cells may get one from the sweep and one from the process that forked them."""
    config = make_config(bert, rows, tmp_path, train__max_steps=4)
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="after step 2 of 4; a checkpoint is saved"):
        signals_in_step(2, signal.SIGTERM, 2, patch)
        in_saving(signal.SIGTERM, patch)
        executed(config)
    (saved,) = tmp_path.glob("work/s09_train/*/keep/checkpoint-*/")
    assert saved.name == "checkpoint-2" and newest_whole(saved.parent) == saved


@pytest.mark.usefixtures("ctrl_c_raises")
def test_a_second_ctrl_c_within_a_step_publishes_nothing(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(bert, rows, tmp_path, train__max_steps=4)
    with monkeypatch.context() as patch, pytest.raises(Signalled):
        signals_in_step(3, signal.SIGINT, 2, patch)
        executed(config)
    assert not list(tmp_path.glob("records/s09_train/*.json")), "half a training must not count as a whole one"


@pytest.mark.usefixtures("ctrl_c_raises")
def test_a_second_ctrl_c_within_the_saving_says_that_nothing_is_saved(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(bert, rows, tmp_path, train__max_steps=4)
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="after step 3 of 4; no checkpoint was"):
        signals_in_step(3, signal.SIGINT, 1, patch)
        in_saving(signal.SIGINT, patch)
        executed(config)
    whole = make_config(bert, rows, tmp_path / "whole", train__max_steps=4)
    weights = [run.artifacts["s09_train"].select("*.safetensors").digest for run in (executed(config), executed(whole))]
    assert weights[0] == weights[1]
