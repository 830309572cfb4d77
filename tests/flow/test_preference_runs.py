"""Learning from preferences as a user sees it: runs, what they share, and what is refused before they cost anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from tasks import STAGES
from tasks.config import ConfigError
from tasks.data.tokens.token_rows import tokens_of
from tasks.results.finetuned import FineTuned
from tasks.runtime import parts
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import WORDS, make_task, make_task_rows


def states(done: FineTuned) -> dict[str, str]:
    return {entry.stage: entry.state for entry in done.stages}


def weights(done: FineTuned) -> str:
    return done._open("s09_train").ref.digest


def short(config: dict[str, Any], **train: Any) -> dict[str, Any]:
    train = config["train"] | {"max_steps": 3, "logging_steps": 1} | train
    return config | {"train": train, "eval": config.get("eval", {}) | {"samples": 0}}


@pytest.mark.slow
def test_the_reference_is_computed_once_for_all_losses_rates_and_adapters(tmp_path: Path) -> None:
    config = short(make_task("dpo", tmp_path))
    one = executed(config)
    assert list(states(one)) == sorted((*STAGES, "s07b_reference"))
    losses = [log["loss"] for log in one.history if "loss" in log]
    assert losses[0] == pytest.approx(0.693147, abs=1e-6), "a model does not differ from itself, also not by dropout"
    assert losses[-1] < losses[0]
    found = {weights(one)}
    for more in ({"preference": {"beta": 0.5}}, {"preference": {"loss_type": "hinge"}}, {"peft": {"method": "lora"}}):
        other = executed(config | more)
        assert states(other)["s07b_reference"] == "cached"
        found.add(weights(other))
    assert len(found) == 4
    dropped = executed(config | {"preference": {"disable_dropout": False}})
    assert next(log["loss"] for log in dropped.history if "loss" in log) != pytest.approx(0.693147, abs=1e-6)
    free = executed(config | {"preference": {"loss_type": "simpo"}})
    assert list(states(free)) == list(STAGES)
    assert free.metrics["eval_chosen_reward"] < 0  # a mean log-probability


@pytest.mark.parametrize("peft", slow_except(["continue"], ["continue", "lora", "none"]))
def test_the_reference_of_a_trained_adapter_has_it(peft: str, tmp_path: Path) -> None:
    out, tuned = tmp_path / "tuned", make_task("sft", tmp_path)
    executed(short(tuned, learning_rate=1e-2) | {"peft": {"method": "lora"}, "output_dir": str(out)})
    done = executed(short(make_task("dpo", tmp_path)) | {"model": {"name": str(out)}, "peft": peft})
    first = next(log["loss"] for log in done.history if "loss" in log)
    assert first == pytest.approx(0.693147, abs=1e-6), "the model before training is its own reference"


def test_a_reference_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = short(make_task("kto", tmp_path))
    monkeypatch.setattr(parts, "PART", 10)
    original, starts = parts._write, []

    def stopping(*arguments: Any) -> Any:
        starts.append(arguments[1].start)
        if len(starts) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(parts, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        executed(config)
    assert starts == [0, 10, 20]
    done = executed(config)
    assert starts[3:] == [20, 30, 0, 10, 0, 10]  # train, validation, test
    rows = tokens_of(done._open("s07b_reference").paths("train-"))
    assert (
        rows is not None
        and rows["reference"].null_count == 0
        and all(len(pair) == 2 for pair in rows["reference"].to_pylist())
    )


def test_what_is_trained_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, rows = tmp_path / "out", tmp_path / "rows.jsonl"
    executed(short(make_task("dpo", tmp_path)) | {"output_dir": str(out), "peft": {"method": "lora", "r": 2}})
    rows.write_text(json.dumps({"prompt": WORDS[0]}) + "\n")
    capsys.readouterr()
    assert main(["predict", str(out), str(rows)]) == 0
    assert isinstance(json.loads(capsys.readouterr().out)["prediction"], str)
    rows.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    assert main(["evaluate", str(out), str(rows)]) == 3
    assert "preferences are scored against the reference model" in capsys.readouterr().err


def test_a_reward_model_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, config = tmp_path / "out", make_task("reward", tmp_path, rows=120)
    config["train"]["num_train_epochs"] = 6
    done = executed(config | {"output_dir": str(out)})
    assert done.metrics["test_accuracy"] > 0.7, "chosen are the topics, rejected any two words"
    pairs, single = tmp_path / "pairs.jsonl", tmp_path / "single.jsonl"
    row = {"prompt": " ".join(WORDS[:4]), "chosen": "metal", "rejected": f"{WORDS[3]} {WORDS[9]}"}
    pairs.write_text(json.dumps(row) + "\n")
    single.write_text("".join(json.dumps({"prompt": row["prompt"], "completion": row[side]}) + "\n"
                              for side in ("chosen", "rejected")))  # fmt: skip
    capsys.readouterr()
    assert main(["evaluate", str(out), str(pairs), "--json"]) == 0
    margin = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["margin"]
    assert main(["predict", str(out), str(single)]) == 0
    chosen, rejected = (json.loads(line)["prediction"] for line in capsys.readouterr().out.splitlines())
    assert chosen - rejected == pytest.approx(margin, abs=1e-5) and margin > 0


@pytest.mark.parametrize(("task", "kind"), [("reward", "reward"), ("text-classification", "single")])
def test_prompts_before_a_decoder_that_classifies_are_refused(task: str, kind: str, tmp_path: Path) -> None:
    """peft gives such models vectors in place of ids, so that they cannot tell padding."""
    config = make_task("reward", tmp_path)
    config |= {"task": task, "peft": {"method": "prompt_tuning", "num_virtual_tokens": 2}}
    config["data"]["train"] = str(make_task_rows(tmp_path / "rows.jsonl", kind))
    with pytest.raises(
        ConfigError, match=r"peft\.method: with prompt_tuning, LlamaForSequenceClassification would score"
    ):
        executed(config)


@pytest.mark.slow
def test_center_rewards_does_something(tmp_path: Path) -> None:
    config = short(make_task("reward", tmp_path))
    plain, centred = (executed(config | {"preference": more}) for more in ({}, {"center_rewards_coefficient": 1.0}))
    assert weights(plain) != weights(centred)


def test_a_plan_says_that_the_reference_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_task("dpo", tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(config))
    assert main(["plan", str(file), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [entry["state"] for entry in planned["stages"] if entry["stage"] == "s07b_reference"] == ["miss"]
    assert planned["steps"] > 0


@pytest.mark.parametrize(("task", "more", "message"), [
    ("sft", {"preference": {"beta": 0.2}}, "preference.beta: sft has none; dpo, kto has; leave it out"),
    ("kto", {"preference": {"loss_type": "ipo"}},
     "preference.loss_type: 'ipo' is none of kto; valid are kto, apo_zero_unpaired"),
    ("reward", {"preference": {"loss_type": "sigmoid"}}, "preference.loss_type: reward has none; dpo, kto has"),
    ("dpo", {"preference": {"loss_type": "exo_pair"}}, "preference.label_smoothing: loss_type exo_pair needs one"),
    ("dpo", {"preference": {"loss_type": "hinge", "label_smoothing": 0.1}},
     "preference.label_smoothing: loss_type hinge has none; sigmoid, robust and exo_pair have"),
    ("dpo", {"data": {"overlong": "window"}}, "data.overlong: dpo does not split conversations; valid are truncate"),
    ("sft", {"data": {"overlong": "window"}}, "data.overlong: sft does not split conversations; valid are truncate"),
])  # fmt: skip
def test_settings_without_effect_are_refused(task: str, more: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = make_task(task, tmp_path)
    with pytest.raises(ConfigError) as error:
        executed({**config, **{name: {**config.get(name, {}), **values} for name, values in more.items()}})
    assert message in str(error.value)
