"""Chains: each step is an ordinary run from the model of the one before, and all is checked before the first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import align
from flows.chain.execute import check_chain, execute_chain
from flows.chain.result import Aligned
from flows.cli import main
from tasks import STAGES
from tasks.config import ConfigError, DataError, TrainingError, load_chain
from tasks.results.finetuned import FineTuned
from tasks.runtime.runs import runs
from tests.flow.scenes import executed, without_prefect
from tests.tiny import make_chain

LOADED_ELSEWHERE = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder)
ids = AutoTokenizer.from_pretrained(folder)("fruit metal", return_tensors="pt").input_ids
print(json.dumps(model(ids).logits.flatten().tolist()))
"""


def chained(config: dict[str, Any], *overrides: str) -> Aligned:
    with without_prefect():
        return execute_chain(load_chain(config, overrides))


def states(done: FineTuned) -> set[str]:
    return {entry.state for entry in done.stages}


def built(done: FineTuned) -> list[str]:
    return [entry.stage for entry in done.stages if entry.state == "built"]


def weights(done: FineTuned) -> str:
    return done._open("s09_train").ref.select("*.safetensors").digest


def keys(done: FineTuned) -> dict[str, str]:
    return {entry.stage: entry.key for entry in done.stages}


def test_a_step_is_the_run_that_it_would_be_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = make_chain(tmp_path, "sft", "reward", "dpo", name="helper", output_dir=str(tmp_path / "out"))
    done = chained(config)
    assert "step 1 of 3, sft: done; test_perplexity" in caplog.text, "the task's main metric comes first"
    assert done.names == ("sft", "reward", "dpo") and done.final is done["dpo"] is done[2]
    assert [run.path for run in done.steps] == [tmp_path / "out" / name for name in done.names]
    shared = {name: value for name, value in config.items() if name != "steps"}
    bases = [config["model"], str(tmp_path / "out/sft"), str(tmp_path / "out/sft")]
    for step, base, run in zip(config["steps"], bases, done.steps, strict=True):
        plain = {**shared, "task": step["task"], "model": base, "name": f"helper-{step['task']}",
                 "data": {**config["data"], "train": step["data"]}, "output_dir": str(run.path)}  # fmt: skip
        again = executed(plain)
        assert states(again) == {"cached"} and keys(again) == keys(run)
        alone = executed({**plain, "store": str(tmp_path / "other"), "output_dir": None})
        assert keys(alone) == keys(run)
        assert weights(alone) == weights(run)


@pytest.mark.slow
def test_a_changed_step_reruns_none_before_it(tmp_path: Path) -> None:
    config = make_chain(tmp_path)
    chained(config)
    first, second = chained(config, "steps[1].preference.beta=0.5").steps
    assert states(first) == {"cached"} and built(second)[0] == "s08_trainer"
    first, second = chained(config, "seed=7").steps
    assert "s09_train" in built(first) and "s03_base" in built(second)


@pytest.mark.slow
def test_adapters_are_merged_and_the_last_model_is_whole(tmp_path: Path) -> None:
    config = make_chain(tmp_path, peft={"method": "lora", "r": 4}, output_dir=str(tmp_path / "out"))
    done = chained(config)
    assert (tmp_path / "out/sft/adapter_config.json").exists()
    assert not (tmp_path / "out/dpo/adapter_config.json").exists()
    script = [sys.executable, "-c", LOADED_ELSEWHERE, str(tmp_path / "out/dpo")]
    ended = subprocess.run(script, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    model, tokenizer = done
    ids = tokenizer("fruit metal", return_tensors="pt").input_ids
    found = json.loads(ended.stdout.splitlines()[-1])
    assert model(ids).logits.flatten().tolist() == pytest.approx(found, abs=1e-5)


@pytest.mark.slow
def test_an_adapter_names_the_folder_of_the_step_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = make_chain(tmp_path)
    config["steps"][1] |= {"peft": "lora", "output_dir": str(tmp_path / "last")}
    chained(config)
    assert "needs its base, the model of step sft, which is only in the store" in caplog.text
    caplog.clear()
    config["steps"][0]["output_dir"] = str(tmp_path / "sft")
    done = chained(config)
    adapter = json.loads((tmp_path / "last/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "sft")
    assert "only in the store" not in caplog.text and built(done[0]) == []


def test_a_step_that_fails_ends_the_chain(tmp_path: Path) -> None:
    config = make_chain(tmp_path)
    config["steps"][0]["train"] = {"learning_rate": 1e30, "max_steps": 4}
    with pytest.raises(TrainingError, match=r"^steps\[0\] \(sft\): .*diverged"):
        chained(config)


@pytest.mark.slow
def test_a_plan_says_what_waits_for_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, file = make_chain(tmp_path, "sft", "dpo", "kto"), tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump(config))

    def planned(verb: str, *words: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main([verb, str(file), *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])["steps"]

    first, second, third = planned("plan")
    assert (first["waits_for"], second["waits_for"], third["waits_for"]) == (None, "sft", "dpo")
    assert first["steps"] == second["steps"] == 2 and second["memory"] > 0
    found = {entry["stage"]: entry["reason"] for entry in second["stages"]}
    assert found["s03_base"] == found["s09_train"] == "MODEL: that of step sft will be new"
    assert "MODEL" not in found["s04_prepare"]
    assert main(["align", str(file), "--plan"]) == 0
    assert "pending: it starts from the model of step sft" in capsys.readouterr().out
    chained(config)
    assert {entry["state"] for step in planned("align", "--plan") for entry in step["stages"]} == {"hit"}
    changed = planned("plan", "steps[1].preference.beta=0.5")
    assert [step["waits_for"] for step in changed] == [None, None, "dpo"]
    assert {entry["state"] for entry in changed[0]["stages"]} == {"hit"}


@pytest.mark.slow
def test_the_command_runs_each_step_as_a_subflow(
    prefect_api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, file = make_chain(tmp_path, name="helper"), tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump(config))
    assert main(["align", str(file), "--json"]) == 0
    ended = capsys.readouterr()
    found = json.loads(ended.out.splitlines()[-1])
    assert [step["name"] for step in found["steps"]] == ["sft", "dpo"]
    assert all(step["run"].startswith(f"helper-{step['name']}-") for step in found["steps"])
    assert [entry["stage"] for entry in found["steps"][0]["stages"]] == list(STAGES)
    assert "step 2 of 2, dpo: dpo, from the model of step sft" in ended.err
    done = align(config)  # from Python: everything is cached
    assert [states(run) for run in done.steps] == [{"cached"}] * 2 and not done.model.training
    assert len(runs(done.final._context.store)) == 4


@pytest.mark.slow
def test_the_flow_alone_does_the_same_from_its_parameters(prefect_api: str, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.chain.flow import align as flow

    config = make_chain(tmp_path)
    first = chained(config)
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        done = flow(**config)
    assert [keys(run) for run in done.steps] == [keys(run) for run in first.steps]


@pytest.mark.parametrize(("step", "more", "message"), [
    (1, {"task": "text-classification"}, r"steps\[1\]\.task: text-classification does not train a model that answers"),
    (1, {"task": "dpoo"}, r"steps\[1\]\.task: "),
    (1, {"preference": {"loss_type": "kto"}}, r"steps\[1\]\.preference\.loss_type: 'kto' is none of dpo"),
    (0, {"preference": {"beta": 0.2}}, r"steps\[0\]\.preference\.beta: sft has none"),
    (0, {"export": {"promote": "if_better"}}, r"steps\[0\]\.export\.promote: with if_better"),
    (1, {"output_dir": "out/sft"}, r"steps\[1\]\.output_dir: 'out/sft' is that of steps\[0\]"),
    (1, {"output_dir": "out/sft/next"}, r"steps\[1\]\.output_dir: "),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_the_first_step(
    step: int, more: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = make_chain(tmp_path, output_dir="out")
    config["steps"][step] |= more
    with pytest.raises(ConfigError, match=message):
        check_chain(load_chain(config), probe=True)
    assert not (tmp_path / "out").exists()


def test_reward_models_alone_are_no_chain(tmp_path: Path) -> None:
    config = make_chain(tmp_path, "reward")
    config["steps"] *= 2
    with pytest.raises(ConfigError, match="all of them train reward models"):
        check_chain(load_chain(config), probe=True)


def test_data_of_all_steps_is_read_before_the_first(tmp_path: Path) -> None:
    config = make_chain(tmp_path)
    good = config["steps"][1]["data"]
    config["steps"][1]["data"] = "nowhere.jsonl"
    with pytest.raises(DataError, match=r"^steps\[1\]\.data\.train: no file or folder 'nowhere\.jsonl'"):
        chained(config)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(Path(good).read_text() + '{"prompt": "a", "chosen": "b"}\n')
    config["steps"][1]["data"] = str(rows)
    with pytest.raises(
        DataError, match=r"^steps\[1\]\.data\.train: 1 row whose rejected answer is empty: rows\.jsonl:61"
    ):
        chained(config)
    assert not list((tmp_path / "store").glob("runs/*"))


def test_the_template_of_a_step_is_that_of_the_next(tmp_path: Path) -> None:
    """Its data is checked with it, although the base, which is all there is by then, has another."""
    template = tmp_path / "mine.jinja"
    config = make_chain(tmp_path)
    template.write_text("{% for turn in messages %}{{ '{' + turn['role'] + '} ' + turn['content'] + '<|end|>' }}"
                        "{% endfor %}{% if add_generation_prompt %}{{ '{assistant} ' }}{% endif %}")  # fmt: skip
    config["steps"][0]["model"] = {"chat_template": str(template)}
    base = Path(config["model"]["name"])
    (base / "chat_template.jinja").unlink()
    check_chain(load_chain(config), probe=True)
    with pytest.raises(ConfigError, match=r"^steps\[1\]\.model\.chat_template: conversations need one"):
        check_chain(load_chain({**config, "steps": [{"task": "sft", "data": config["steps"][0]["data"]},
                                                    config["steps"][1]]}), probe=True)  # fmt: skip


def test_memory_keeps_no_model_for_the_next_step(tmp_path: Path) -> None:
    config = make_chain(tmp_path, store="memory")
    with pytest.raises(ConfigError, match=r"store\.root: memory is lost"):
        check_chain(load_chain(config), probe=True)


@pytest.mark.slow
def test_the_reward_step_rewards_later_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_chain(tmp_path, "sft", "reward", "ppo", output_dir=str(tmp_path / "out"))
    config["steps"][2]["rl"] = {"max_completion_length": 6}
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump(config))

    def planned() -> list[dict[str, Any]]:
        assert main(["plan", str(path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["steps"]

    before = planned()
    assert [step["waits_for"] for step in before] == [None, "sft", "sft"]
    assert {stage["stage"] for stage in before[2]["stages"]} == {*STAGES, "s03b_reward_model", "s07d_start"}
    done = chained(config)
    assert states(done["ppo"]) == {"built", "cached"}
    shared = {name: value for name, value in config.items() if name not in ("steps", "output_dir")}
    plain = {**shared, "task": "ppo", "model": str(tmp_path / "out/sft"), "name": "ppo",
             "data": {**config["data"], "train": config["steps"][2]["data"]},
             "rl": {"max_completion_length": 6, "reward_model": str(tmp_path / "out/reward")},
             "output_dir": str(tmp_path / "out/ppo")}  # fmt: skip
    again = executed(plain)
    assert states(again) == {"cached"} and keys(again)["s09_train"] == keys(done["ppo"])["s09_train"]
    after = planned()
    assert [step["waits_for"] for step in after] == [None, None, None]
    assert {stage["state"] for stage in after[2]["stages"]} == {"hit"}
    named = {"reward_funcs": ["tests.rewards:early_letters"], "reward_model": str(tmp_path / "out/reward")}
    config["steps"][2]["rl"] |= named
    other = chained(config)
    assert {"reward/early_letters", "reward/reward_model"} <= other["ppo"].history[0].keys()
    del config["steps"][1], config["steps"][1]["rl"]["reward_model"], config["steps"][1]["rl"]["reward_funcs"]
    with pytest.raises(ConfigError, match=r"steps\[1\].rl.reward_funcs: missing, and so is rl.reward_model"):
        chained(config)
