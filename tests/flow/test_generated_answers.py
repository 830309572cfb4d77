"""`train.predict_with_generate` for conversations: generated answers to held-out rows, after training only."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from flows import predict
from flows.api import plan
from flows.cli import main
from tasks.config import ConfigError, RunConfig, load
from tasks.data.tables.arrow_file import open_table
from tasks.evaluation.answers import answering
from tasks.evaluation.final_answer import is_same_answer
from tasks.objectives.presets import resolve
from tasks.results.finetuned import FineTuned
from tests.flow.scenes import executed
from tests.tiny import make_chat, make_task

GENERATED = "train.predict_with_generate=true"


def short(name: str, folder: Path, **train: Any) -> dict[str, Any]:
    config = make_task(name, folder)
    return config | {"train": config["train"] | {"max_steps": 3, "learning_rate": 0.03} | train, "eval": {"samples": 0}
                     if name == "sft" else {}}  # fmt: skip


def predictions(done: FineTuned, split: str) -> Any:
    return open_table(done._open("s10_evaluate").path(f"{split}.predictions.arrow"))


def shouted(predictions: list[str], references: list[str]) -> float:
    """A metric of a user."""
    assert all(isinstance(text, str) for text in (*predictions, *references))
    return float(len(references))


@pytest.mark.slow
def test_the_answers_are_those_of_the_saved_model(tmp_path: Path) -> None:
    config = short("sft", tmp_path, generation_max_length=6) | {"output_dir": str(tmp_path / "out")}
    plain = executed(config)
    own = f"eval.metrics=[exact_match, '{__name__}:shouted']"
    done = executed(config, GENERATED, own, "eval.slices=[messages]")
    states = {entry.stage: entry.state for entry in done.stages}
    assert [stage for stage, state in states.items() if state == "built"] == [
        "s01_arguments", "s10_evaluate", "s11_save", "s12_handoff"
    ]  # fmt: skip
    assert plain.metrics.keys() == {f"{split}_{name}" for split in ("eval", "test")
                                    for name in ("loss", "perplexity", "token_accuracy")}  # fmt: skip
    for split, prefix in (("validation", "eval"), ("test", "test")):
        found = predictions(done, split)
        rows = [json.loads(text)["messages"] for text in done.rows(split, "s04_prepare")["messages"].to_pylist()]
        assert found["reference"].to_pylist() == [turns[-1]["content"] for turns in rows]
        asked, said = tmp_path / f"{split}.jsonl", tmp_path / f"{split}.said.jsonl"
        asked.write_text("".join(json.dumps({"messages": turns[:-1]}) + "\n" for turns in rows))
        predict(tmp_path / "out", asked, said, temperature=0)
        answers = [json.loads(line)["prediction"] for line in said.read_text().splitlines()]
        assert found["answer"].to_pylist() == answers and any(answers)
        pairs = zip(answers, found["reference"].to_pylist(), strict=True)
        exact = [is_same_answer(answer, reference) for answer, reference in pairs]
        assert done.metrics[f"{prefix}_exact_match"] == pytest.approx(sum(exact) / len(exact))
        assert done.metrics[f"{prefix}_shouted"] == len(rows) and f"{prefix}_exact_match" in done.intervals
        assert all("exact_match" in each for each in done.slices[f"{prefix}_messages"].values())
    assert "exact_match is the share" in (tmp_path / "out" / "README.md").read_text()
    assert "test_exact_match" in (tmp_path / "out" / "README.md").read_text() and "test_exact_match" in done.report


def test_how_answers_are_generated_is_no_part_of_a_training(tmp_path: Path) -> None:
    config = short("sft", tmp_path)
    keys = []
    for more in (
        [],
        [GENERATED],
        [GENERATED, "train.generation_max_length=9"],
        [GENERATED, "train.generation_num_beams=2"],
    ):
        _, context = plan(load(config, more))
        keys.append({entry.stage: context.refs[entry.stage].digest for entry in context.entries})
    for stage in ("s01_arguments", "s08_trainer", "s09_train"):
        assert len({each[stage] for each in keys}) == 1, stage
    assert len({each["s10_evaluate"] for each in keys}) == 4


@pytest.mark.parametrize("task", ["sft", "dpo", "kto"])
def test_the_last_answer_of_a_row_is_its_reference(task: str, tmp_path: Path) -> None:
    done = executed(short(task, tmp_path, predict_with_generate=True, generation_max_length=4))
    found = predictions(done, "test")
    column = "chosen" if task == "dpo" else "messages"
    rows = done.rows("test", "s04_prepare")
    last = [json.loads(text)["messages"][-1]["content"] for text in rows[column].to_pylist()]
    wanted = rows["label"].to_pylist() if task == "kto" else [1] * len(last)
    assert found["reference"].to_pylist() == [text if good else None for text, good in zip(last, wanted, strict=True)]
    assert 0 <= done.metrics["test_exact_match"] <= 1


@pytest.mark.slow
def test_packed_rows_are_answered_one_by_one(tmp_path: Path) -> None:
    config = short("sft", tmp_path, generation_max_length=4)
    done = executed(config, GENERATED, "data.packing=true", "eval.max_samples=5")
    assert predictions(done, "test").num_rows == 5
    assert predictions(done, "test").column_names == ["__origin", "__file", "__row", "answer", "reference"]


def test_without_held_out_rows_it_says_so(tmp_path: Path) -> None:
    config = short("sft", tmp_path, predict_with_generate=True)
    config["data"]["split"] = {"validation": 0.0, "test": 0.0}
    assert any(line.startswith("train.predict_with_generate: there are no") for line in executed(config).warnings)


def resolved(task: str, **sections: Any) -> RunConfig:
    return resolve(RunConfig.model_validate({"model": "m", "data": "d.csv", "task": task, **sections}), {})[0]


@pytest.mark.parametrize(
    ("task", "train", "judged", "says"),
    [
        ("text-classification", True, {}, "train.predict_with_generate: rows of text-classification have no answers .* "
         "those of sequence-sequence, sft, dpo, kto have; leave it out"),
        ("language-generation", True, {}, "train.predict_with_generate: rows of language-generation have no answers"),
        ("sft", None, {"metrics": ["exact_match"]},
         "eval.metrics: exact_match needs generated texts, and train.predict_with_generate is not set"),
        ("sft", False, {"best": "exact_match"}, "eval.best: exact_match .* train.predict_with_generate is false"),
        ("sft", True, {"best": "exact_match"}, "eval.best: sft generates texts only after training"),
        ("sequence-sequence", False, {"metrics": ["bleu"]}, "eval.metrics: bleu needs generated texts"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_refused(task: str, train: bool | None, judged: dict[str, Any], says: str) -> None:
    given = {} if train is None else {"predict_with_generate": train}
    with pytest.raises(ConfigError, match=says):
        resolved(task, train=given, eval=judged)


def test_a_plan_says_what_is_measured_after_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, held = short("sft", tmp_path), tmp_path / "held.txt"
    held.write_text("bal bel\n")
    config["eval"] |= {"forgetting": {"data": str(held)}, "max_samples": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["plan", str(tmp_path / "config.json"), GENERATED, "--json"]) == 0
    answers, texts = json.loads(capsys.readouterr().out)["after_training"]
    assert answers == (
        "after training: answers to at most 7 rows of validation and test are generated greedily, each of at most 256 "
        "tokens, and scored by exact_match (train.predict_with_generate)"
    )
    assert "at most 200 texts of" in texts and str(held) in texts
    assert main(["plan", str(tmp_path / "config.json"), GENERATED]) == 0
    shown = capsys.readouterr().out
    assert answers in shown and texts in shown


def test_an_answer_that_fills_the_model_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.generation_max_length: 64 given; the model takes 64 tokens"):
        plan(load(short("sft", tmp_path), [GENERATED, "train.generation_max_length=64"]))
    prompt = ["peft=prompt_tuning", "peft.num_virtual_tokens=20", "train.generation_max_length=50"]
    with pytest.raises(ConfigError, match="50 given; the model takes 44 tokens beside 20 virtual tokens"):
        plan(load(short("sft", tmp_path), [GENERATED, *prompt]))


@pytest.mark.parametrize(("given", "limit"), [({}, 32), ({"generation_max_length": 50}, 50)])
def test_a_limit_that_is_set_is_kept_and_otherwise_leaves_room_for_the_question(
    given: dict[str, int], limit: int, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_chat(tmp_path / "chat"))
    assert answering(model, None, {}, {}, given).limit == limit
