"""Answers before and after training: what the report shows is what the two models say."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows import predict
from flows.api import plan
from tasks.config import ConfigError, load
from tasks.data.chat.formats import Conversation
from tasks.data.chat.rows import to_json
from tasks.evaluation.samples import sample_answers
from tasks.objectives import objective_of
from tasks.results.card import sample_section
from tasks.results.report import gather
from tasks.results.report_html import html
from tests.flow.scenes import executed
from tests.selection import slow_except
from tests.tiny import TOPICS, make_task

# Answers begin with a word: a new model repeats what was last.
TURNS = (
    "{% for turn in messages %}{{ ('bal ' if turn['role'] == 'assistant' else '') + turn['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'bal ' }}{% endif %}"
)


ANSWERED = to_json(Conversation(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})))


def said(model: Path | str, questions: list[str], folder: Path, task: str) -> list[str]:
    (folder / "asked.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions))
    predict(model, str(folder / "asked.jsonl"), folder / "said.jsonl", task=task, temperature=0)
    return [json.loads(line)["prediction"] for line in (folder / "said.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("task", "peft"),
    slow_except([("sft", "lora")], [("sft", "none"), ("sft", "lora"), ("kto", "none"), ("dpo", "lora")]),
)
def test_the_answers_are_those_of_the_models(task: str, peft: str, tmp_path: Path) -> None:
    config = make_task(task, tmp_path) | {"output_dir": str(tmp_path / "out"), "peft": {"method": peft}}
    config["train"] |= {"max_steps": 6, "learning_rate": 0.05}
    (tmp_path / "chat" / "chat_template.jinja").write_text(TURNS)
    done = executed(config)
    questions = [each["question"] for each in done.samples]
    assert len(questions) == 3 and all(each["expected"] in TOPICS for each in done.samples)
    before, after = (said(model, questions, tmp_path, task) for model in (config["model"]["name"], tmp_path / "out"))
    assert [each["base"] for each in done.samples] == before
    assert [each["trained"] for each in done.samples] == after
    assert all(before) and before != after
    record = json.loads(next((tmp_path / "store" / "runs").glob(f"{done.run}*")).read_text())
    page, card = html(gather(done._context.store, record)), (tmp_path / "out" / "README.md").read_text()
    for text in (done.report, page, card):
        assert questions[0] in text and "Answers" in text
    _, again = plan(load(config, ["eval.samples=0"]))
    states = {entry.stage: entry.state for entry in again.entries}
    assert states["s09_train"] == "hit" and states["s10_evaluate"] == "miss"


def test_other_tasks_have_no_answers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"eval.samples: language-modeling has no answers to show; (dpo, kto, )?sft"):
        plan(load(make_task("language-modeling", tmp_path), ["eval.samples=3"]))
    plan(load(make_task("language-modeling", tmp_path), ["eval.samples=0"]))


@pytest.mark.parametrize(
    "columns",
    [
        {"messages": [to_json(Conversation((), text="a text"))]},
        {"messages": [ANSWERED], "label": pa.array([0], pa.int8())},
    ],
    ids=["raw texts", "undesirable answers"],
)
def test_rows_without_a_question_or_a_right_answer_are_left_out(columns: dict[str, Any], tmp_path: Path) -> None:
    rows = pa.table({**columns, "__file": ["a"], "__row": [1]})
    models: Any = [lambda: pytest.fail("no model is needed")] * 2
    sample_answers(models, rows, "messages", 3, None, {}, {}, tmp_path / "samples.json")
    assert not (tmp_path / "samples.json").exists()


@pytest.mark.parametrize("task", ["sft", "dpo", "kto", "reward", "grpo", "ppo"])
def test_tasks_that_learn_given_answers_show_some(task: str) -> None:
    found = objective_of(task)
    assert (found.samples is not None) is ("eval.samples" in found.defaults) is (task in ("sft", "dpo", "kto"))


def test_a_cell_of_the_card_is_one_short_line() -> None:
    sample = {"question": "a | b\nc", "expected": "x" * 500, "base": "<b>", "trained": ""}
    *_, line = sample_section([sample]).strip().splitlines()
    assert line.startswith("| a &#124; b c | xxx") and len(line) < 500
    assert sample_section([]) == ""
