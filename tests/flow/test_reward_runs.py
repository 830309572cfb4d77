"""Learning from rewards as a user sees it: runs with functions and reward models, and what is refused beforehand."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.api import plan
from tasks import STAGES
from tasks.config import ConfigError, DataError, RunConfig, load
from tasks.config.errors import TrainingError
from tasks.data.tables.arrow_file import open_table
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import make_task

CONSTANT = {"lr_scheduler_type": "constant", "warmup_steps": 0, "logging_steps": 1, "weight_decay": 0.0}


def states(done: FineTuned) -> dict[str, str]:
    return {entry.stage: entry.state for entry in done.stages}


def logged(done: FineTuned, name: str) -> list[float]:
    return [log[name] for log in done.history if name in log]


def configured(task: str, folder: Path, steps: int = 3, **rl: Any) -> dict[str, Any]:
    config = make_task(task, folder)
    train = config["train"] | CONSTANT | {"max_steps": steps, "learning_rate": 1e-3}
    return config | {"train": train, "rl": config["rl"] | rl}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["grpo", "ppo"])
def test_the_reward_rises_and_the_divergence_stays_bounded(task: str, tmp_path: Path) -> None:
    options, rate = {
        "grpo": ({"steps": 40, "beta": 0.3, "num_generations": 8}, 5e-3),
        "ppo": ({"steps": 160, "kl_coef": 0.1}, 3e-3),
    }[task]
    config = configured(task, tmp_path, **options)
    config["train"] |= {"learning_rate": rate, "per_device_train_batch_size": 8, "eval_strategy": "no"}
    done = executed(config)
    rewards, divergence = logged(done, "reward"), logged(done, "kl")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15
    assert max(divergence) < (5 if task == "ppo" else 1), "nats, of an answer, or a token"
    assert divergence[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", slow_except(["ppo"], ["grpo", "ppo"]))
def test_predictions_have_the_answers_and_each_reward(task: str, tmp_path: Path) -> None:
    functions = ["tests.rewards:early_letters", "final_answer"]
    config = configured(task, tmp_path, reward_funcs=functions, reward_weights=[1.0, 2.0])
    done = executed(config | {"output_dir": str(tmp_path / "out")})
    table = open_table(done._open("s10_evaluate").path("test.predictions.arrow"))
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for answer, total, early, right, tokens in zip(
        *(columns[name] for name in ("prediction", "reward", "reward_early_letters", "reward_final_answer",
                                     "completion_length")), strict=True,
    ):  # fmt: skip
        assert isinstance(answer, str) and 0 < tokens <= 6
        assert total == pytest.approx(early + 2 * right)
    assert done.metrics["test_reward"] == pytest.approx(sum(columns["reward"]) / table.num_rows)
    assert "test_loss" not in done.metrics
    assert {"reward/early_letters", "reward/final_answer", "entropy", "completion_length"} <= done.history[0].keys()
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert ("value_head.safetensors" in saved) == (task == "ppo")
    again = executed(make_task("sft", tmp_path) | {"model": {"name": str(tmp_path / "out")}})
    assert states(again)["s06_model"] == "built", "a value head beside a model is not part of it"


@pytest.mark.parametrize("peft", slow_except(["lora"], ["none", "lora"]))
def test_a_reward_model_s_run_rewards_answers(peft: str, tmp_path: Path) -> None:
    judge = make_task("reward", tmp_path)
    judge |= {"output_dir": str(tmp_path / "judge"), "peft": peft}
    model, tokenizer = cast("tuple[Any, Any]", executed(judge | {"train": judge["train"] | {"max_steps": 2}}))
    config = configured("ppo", tmp_path, reward_funcs=None, reward_model=str(tmp_path / "judge"))
    config["train"]["bf16"] = False
    config["data"]["test"] = config["data"]["train"]
    done = executed(config)
    assert states(done)["s03b_reward_model"] == "built" and set(states(done)) == {
        *STAGES,
        "s03b_reward_model",
        "s07d_start",
    }
    table = open_table(done._open("s10_evaluate").path("test.predictions.arrow"))
    lines = [json.loads(line) for line in Path(config["data"]["train"]).read_text().splitlines()]
    scores: list[float] = []
    for answer, row in zip(table["prediction"].to_pylist(), table["__row"].to_pylist(), strict=True):
        turns = [{"role": "user", "content": lines[row - 1]["prompt"]}, {"role": "assistant", "content": answer}]
        inputs = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            scores.append(float(model(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).logits))
    assert table["reward"].to_pylist() == pytest.approx(scores, rel=1e-5, abs=1e-6)
    assert len({round(score, 6) for score in scores}) > 1
    weights = next((tmp_path / "judge").glob("*model.safetensors"))
    again = executed(config)
    assert states(again)["s03b_reward_model"] == states(again)["s09_train"] == "cached"
    changed = load_file(weights)
    save_file({name: each * 1.5 for name, each in changed.items()}, weights, metadata={"format": "pt"})
    other = executed(config)
    assert states(other)["s03b_reward_model"] == states(other)["s09_train"] == "built"


@pytest.mark.slow
def test_answers_are_compared_with_those_before_training(tmp_path: Path) -> None:
    config = configured("grpo", tmp_path, steps=8)
    still = executed(config | {"train": config["train"] | {"learning_rate": 1e-12}})
    assert states(still)["s07d_start"] == "built"
    assert still.metrics["test_win_rate"] == 0.5
    assert still.metrics["test_reward_before"] == still.metrics["test_reward"]
    moved = executed(config | {"train": config["train"] | {"learning_rate": 1e-2}})
    assert states(moved)["s07d_start"] == "cached", "it is the same for all trainings"
    table = open_table(moved._open("s10_evaluate").path("test.predictions.arrow"))
    pairs = zip(table["reward"].to_pylist(), table["reward_before"].to_pylist(), strict=True)
    wins = [0.5 if after == before else after > before for after, before in pairs]
    assert moved.metrics["test_win_rate"] == pytest.approx(sum(wins) / len(wins))
    assert {*wins} != {0.5}
    assert table["prediction_before"].to_pylist() != table["prediction"].to_pylist()
    without = executed(config | {"train": config["train"] | {"learning_rate": 1e-2},
                                 "rl": config["rl"] | {"win_rate": False}})  # fmt: skip
    assert "s07d_start" not in states(without) and states(without)["s09_train"] == "cached"
    assert "test_win_rate" not in without.metrics


def test_a_changed_reward_function_trains_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "judging_here.py"
    config = configured("grpo", tmp_path, steps=1, reward_funcs=["judging_here:score"])
    found: list[str] = []
    for body in (
        "return [float(len(each[0]['content'])) for each in completions]",
        "return [0.0 for _ in completions]",
    ):
        module.write_text(f"def score(completions, **_):\n    {body}\n")
        sys.modules.pop("judging_here", None)
        done = executed(config)
        found.append(done._open("s09_train").ref.digest)
        assert states(done)["s08_trainer"] == "built"
    assert found[0] != found[1]
    module.write_text("def score(completions, **_):\n    raise KeyError('text')\n")
    sys.modules.pop("judging_here", None)
    with pytest.raises(TrainingError, match=r"rl.reward_funcs: score failed: KeyError: 'text'"):
        executed(config)
    sys.modules.pop("judging_here", None)


@pytest.mark.parametrize(
    ("task", "rl", "message"),
    [
        ("grpo", {"reward_funcs": None}, "rl.reward_funcs: missing, and so is rl.reward_model"),
        ("grpo", {"num_generations": 1}, "rl.num_generations: 1 given; grpo compares"),
        ("grpo", {"kl_coef": 0.1}, "rl.kl_coef: grpo has none; ppo has"),
        ("ppo", {"beta": 0.1}, "rl.beta: ppo has none; grpo has"),
        ("sft", {"temperature": 0.7}, "rl.temperature: sft has none; grpo, ppo has"),
        ("grpo", {"reward_weights": [1.0, 2.0]}, "rl.reward_weights: 2 given for 1 rewards: early_letters"),
        ("grpo", {"reward_funcs": ["tests.rewards:early_letters"] * 2}, "two rewards have the name 'early_letters'"),
        ("ppo", {"preference": {"beta": 1}}, "preference.beta: ppo has none"),
        ("ppo", {"eval": {"best": "win_rate"}}, "eval.best: win_rate is only known after training"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    task: str, rl: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = make_task(task, tmp_path)
    outer = {name: rl.pop(name) for name in ("preference", "eval") if name in rl}
    config |= {"rl": config.get("rl", {}) | rl} | outer
    with pytest.raises(ConfigError, match=message.replace(".", r"\.").replace("[", r"\[")):
        resolve(RunConfig.model_validate(config), {})


@pytest.mark.parametrize(
    ("rl", "message"),
    [
        ({"reward_funcs": ["final_anser"]}, "did you mean 'final_answer'"),
        ({"reward_funcs": ["tests.rewards:early"]}, "rl.reward_funcs: 'tests.rewards:early': tests.rewards has no"),
        ({"reward_model": "/no/such/folder"}, "rl.reward_model"),
        ({"max_completion_length": 60}, "rl.max_completion_length: 60 tokens after prompts of up to"),
        ({"num_iterations": 2, "batch": 64}, "rl.num_iterations: 2 steps on each 256 prompts, and there are only"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(rl: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = configured("grpo", tmp_path, **{name: value for name, value in rl.items() if name != "batch"})
    if "batch" in rl:
        config["train"]["per_device_train_batch_size"] = rl["batch"]
    with pytest.raises(ConfigError, match=message):
        executed(config)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "60 tokens after prompts of up to .* are more than the model's 64 positions; set it to at most"),
        (["peft=prompt_tuning", "peft.num_virtual_tokens=8", "rl.max_completion_length=40"],
         "40 tokens after .* 56 positions beside 8 virtual tokens"),
    ],
)  # fmt: skip
def test_answers_that_do_not_fit_are_refused_by_a_plan(more: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"rl.max_completion_length: {message}"):
        plan(load(configured("ppo", tmp_path, max_completion_length=60), more))


@pytest.mark.parametrize(
    ("function", "rows", "error", "message"),
    [
        ("tests.rewards:by_topic", {"topics": "a"}, ConfigError,
         r"by_topic takes 'topic', which is no column of the rows \(did you mean 'topics'\?\); .* data.train have"),
        ("final_answer", {"right": "4"}, ConfigError, "compares with the right answer, .*train have right"),
        ("final_answer", {"answer": None}, DataError, r"without the right answer in 'answer', .*: prompts.jsonl:\d"),
    ],
)  # fmt: skip
def test_columns_that_rewards_need_are_checked_by_a_plan(
    function: str, rows: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    config = configured("grpo", tmp_path, reward_funcs=[function])
    path = Path(config["data"]["train"])
    asked = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({"prompt": each, **rows}) + "\n" for each in asked))
    with pytest.raises(error, match=message):
        plan(load(config))


def test_a_model_that_gives_no_score_is_no_reward_model(tmp_path: Path) -> None:
    config = configured("ppo", tmp_path)
    config["rl"]["reward_model"] = config["model"]["name"]
    with pytest.raises(ConfigError, match=r"rl.reward_model: .* has no trained head that gives one score"):
        executed(config)
