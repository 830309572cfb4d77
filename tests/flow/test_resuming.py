"""A training continues from a checkpoint on purpose, from its own, or from the end of the same but shorter one."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flows.api import plan
from tasks.config import ConfigError, load
from tasks.config.errors import Interrupted
from tasks.results.finetuned import FineTuned
from tasks.training.callbacks.control import StopOnSignal
from tasks.training.longer import is_prefix, without_length
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import make_config


def reason(done: FineTuned, stage: str = "s09_train") -> str:
    return next(entry.reason for entry in done.stages if entry.stage == stage)


def weights(done: FineTuned) -> dict[str, Any]:
    return load_file(done._open("s09_train").path("model.safetensors"))


def same(one: FineTuned, other: FineTuned) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def plain_checkpoint(done: FineTuned, out: Path, steps: int, **more: Any) -> Path:
    """The same training by transformers' own Trainer, stopped after `steps`: its checkpoint, pickles and all."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from tasks.models.assemble import starting_model
    from tasks.training.compute import computing_as

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_save = control.should_training_stop = state.global_step == steps

    planned, base, made = done.arguments, done._open("s03_base"), done._open("s06_model")
    model = starting_model(made.view(), base.externals(), made.json("load.json"), None)
    arguments = {**planned["arguments"], "eval_strategy": "no", **more}
    given = TrainingArguments(str(out), seed=planned["seed"], use_cpu=True, report_to="none", disable_tqdm=True,
                              save_strategy="no", **arguments)  # fmt: skip
    from tasks.objectives import objective_of

    view = objective_of(planned["task"]).component("view")(
        done.rows("train"), base.json("processor.json"), planned["seed"], {}
    )
    with computing_as(planned):
        Trainer(model, given, train_dataset=view, data_collator=done.collator, callbacks=[Stop()]).train()
    (found,) = out.glob(f"checkpoint-{steps}")
    assert (found / "optimizer.pt").exists()
    return found


def test_a_checkpoint_of_transformers_own_trainer(
    bert: Path, rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__train_sampling_strategy="random")
    config["train"] |= {"max_steps": 12, "eval_strategy": "no"}
    whole = executed(config)
    there = plain_checkpoint(whole, tmp_path / "theirs", 5)
    config["train"] |= {"resume_from_checkpoint": str(tmp_path / "theirs")}
    done = executed(config)
    assert reason(done) == "resumes from step 5 of 12" and same(done, whole)
    assert "the checkpoint's training differed" not in caplog.text
    assert {entry.state for entry in executed(config).stages} == {"cached"}
    config["train"] |= {"max_steps": 14, "learning_rate": 1e-4}
    longer = executed(config)
    assert "differed: steps 12 → 14; train.learning_rate 0.002 → 0.0001" in caplog.text
    rates = [entry["learning_rate"] for entry in longer.history if entry["step"] > 5 and "learning_rate" in entry]
    assert rates and max(rates) < 1e-4 and longer.state.global_step == 14
    config["train"] |= {"max_steps": 5}
    with pytest.raises(ConfigError, match="the checkpoint is of step 5, and this training has 5 steps"):
        executed(config)
    (there / "optimizer.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    config["train"] |= {"max_steps": 9}
    with pytest.raises(ConfigError, match=r"optimizer\.pt cannot be read without running code"):
        executed(config)


def test_a_stopped_run_says_where_it_goes_on_and_can_be_named(
    bert: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(bert, rows, tmp_path / "store", name="stopped", train__max_steps=8)
    with monkeypatch.context() as stopping:
        step_end = StopOnSignal.on_step_end

        def stop(self: StopOnSignal, args: Any, state: Any, control: Any, **more: Any) -> Any:
            self.caught = 15 if state.global_step == 3 else None
            return step_end(self, args, state, control, **more)

        stopping.setattr(StopOnSignal, "on_step_end", stop)
        with pytest.raises(Interrupted):
            executed(config)
    _, context = plan(load(config))
    assert [entry.reason for entry in context.entries if entry.stage == "s09_train"] == ["resumes from step 3 of 8"]
    evaluated = {"eval": {"best": "loss", "patience": 3}, "train": {**config["train"], "eval_strategy": "steps"}}
    evaluated["train"] |= {"eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    done = executed({**config, "name": "best", **evaluated}, "train.resume_from_checkpoint=stopped")
    assert [entry["step"] for entry in done.history if "eval_loss" in entry] == [4, 6, 8]
    other = executed({**config, "name": "other"}, "train.resume_from_checkpoint=stopped", "train.max_steps=6")
    assert reason(other) == "resumes from step 3 of 6" and other.state.global_step == 6
    again = executed({**config, "name": "other"}, "train.resume_from_checkpoint=stopped", "train.max_steps=6")
    assert reason(again).startswith("hit")
    assert reason(executed(config)) == "resumes from step 3 of 8"
    for word, says in (("stoped", "did you mean 'stopped'"), ("stopped", "has no checkpoint")):
        with pytest.raises(ConfigError, match=f"train.resume_from_checkpoint: .*{says}"):
            executed(config, f"train.resume_from_checkpoint={word}")


def test_another_models_checkpoint_is_refused(bert: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(bert, rows, tmp_path / "store", name="first", train__max_steps=2)
    executed(config, "train.save_strategy=steps")
    with pytest.raises(ConfigError, match="the checkpoint is of another model: this one has no "):
        executed(config, "peft=lora", "train.max_steps=4", "train.resume_from_checkpoint=first")


@pytest.mark.parametrize("best", slow_except(["loss"], [None, "loss"]))
def test_a_longer_training_at_a_constant_rate_goes_on_by_itself(
    best: str | None, bert: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(bert, rows, tmp_path / "store", train__lr_scheduler_type="constant", eval={"best": best})
    short = executed(config, "train.num_train_epochs=1")
    longer = executed(config, "train.num_train_epochs=2")
    steps = short.state.global_step
    assert reason(longer) == f"resumes from step {steps} of {2 * steps}"
    whole = executed(config, "train.num_train_epochs=2", f"store.root={tmp_path / 'other'}")
    assert "goes on" not in reason(whole) and same(longer, whole)


def test_which_trainings_differ_in_length_only() -> None:
    given = {"lr_scheduler_type": "constant", "warmup_steps": 0.06, "max_steps": 8, "num_train_epochs": 3.0}
    plan = {"arguments": given, "steps": {"total": 8, "steps_per_epoch": 4}, "patience": None}

    def but(**more: Any) -> dict[str, Any]:
        return {**plan, "arguments": {**given, **more}}

    assert without_length(plan) == without_length({**but(max_steps=12), "steps": {"total": 12, "steps_per_epoch": 4}})
    assert without_length(plan) != without_length(but(learning_rate=1e-3))
    for other in (
        but(lr_scheduler_type="linear"), but(eval_steps=0.5), {**plan, "patience": 2},
        {**plan, "ranks": {"tinit": 1, "tfinal": 1}}, but(lr_scheduler_type="constant_with_warmup"),
    ):  # fmt: skip
        assert without_length(other) is None, json.dumps(other)
    assert without_length(but(lr_scheduler_type="constant_with_warmup", warmup_steps=5.0)) is not None
    assert is_prefix(plan, 3) and not is_prefix(plan, 8)
    assert is_prefix(but(load_best_model_at_end=True), 4) and not is_prefix(but(load_best_model_at_end=True), 3)
