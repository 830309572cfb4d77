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


def said(model: Path | str, questions: list[str], folder: Path) -> list[str]:
    (folder / "asked.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions))
    predict(model, str(folder / "asked.jsonl"), folder / "said.jsonl", task="sft", temperature=0)
    return [json.loads(line)["prediction"] for line in (folder / "said.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("peft", slow_except(["lora"], ["none", "lora"]))
def test_the_answers_are_those_of_the_models(peft: str, tmp_path: Path) -> None:
    config = make_task("sft", tmp_path) | {"output_dir": str(tmp_path / "out"), "peft": {"method": peft}}
    config["train"] |= {"max_steps": 6, "learning_rate": 0.05}
    (tmp_path / "chat" / "chat_template.jinja").write_text(TURNS)
    done = executed(config)
    questions = [each["question"] for each in done.samples]
    assert len(questions) == 3 and all(each["expected"] in TOPICS for each in done.samples)
    before, after = (said(model, questions, tmp_path) for model in (config["model"]["name"], tmp_path / "out"))
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
    with pytest.raises(ConfigError, match=r"eval.samples: language-modeling has no answers to show; sft has"):
        plan(load(make_task("language-modeling", tmp_path), ["eval.samples=3"]))
    plan(load(make_task("language-modeling", tmp_path), ["eval.samples=0"]))


def test_raw_texts_have_no_questions(tmp_path: Path) -> None:
    rows = pa.table({"messages": [to_json(Conversation((), text="a text"))], "__file": ["a"], "__row": [1]})
    models: Any = [lambda: pytest.fail("no model is needed")] * 2
    sample_answers(models, rows, None, {}, {}, tmp_path / "samples.json")
    assert not (tmp_path / "samples.json").exists()


def test_a_cell_of_the_card_is_one_short_line() -> None:
    sample = {"question": "a | b\nc", "expected": "x" * 500, "base": "<b>", "trained": ""}
    *_, line = sample_section([sample]).strip().splitlines()
    assert line.startswith("| a &#124; b c | xxx") and len(line) < 500
    assert sample_section([]) == ""
