"""Instruction tuning as a user sees it: a run, its model folder, and new conversations."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from flows.cli import main
from tasks.config import ConfigError
from tasks.models.bases.chat_template import CHATML
from tests.flow.scenes import executed
from tests.tiny import WORDS, make_decoder, make_task


def test_the_template_is_that_of_training_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, file = tmp_path / "out", tmp_path / "turns.jinja"
    file.write_text(
        "{% for turn in messages %}{{ turn['role'] + ' ' + turn['content'] + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
    )
    config = make_task("sft", tmp_path) | {"output_dir": str(out), "peft": {"method": "lora", "r": 2}}
    config["model"]["chat_template"] = str(file)
    config["train"] |= {"max_steps": 2}
    done = executed(config)
    assert done.metrics["eval_perplexity"] > 1 and 0 <= done.metrics["test_token_accuracy"] <= 1
    assert AutoTokenizer.from_pretrained(out).chat_template == file.read_text()
    assert '([{"role": "user", "content": "your question"}])' in (out / "README.md").read_text()
    asked = tmp_path / "asked.jsonl"
    asked.write_text(json.dumps({"prompt": WORDS[0]}) + "\n" + json.dumps({"prompt": WORDS[1]}) + "\n")
    capsys.readouterr()
    assert main(["predict", str(out), str(asked)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in found] == WORDS[:2] and all(isinstance(row["prediction"], str) for row in found)
    scored = tmp_path / "scored.jsonl"
    scored.write_text(json.dumps({"prompt": WORDS[0], "completion": WORDS[1]}) + "\n")
    assert main(["evaluate", str(out), str(scored), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["loss"] > 0


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "model.chat_template: sft needs one, and the base has none; set it to chatml"),
        ("chatml", r"model.chat_template: chatml needs the tokens .* has no <\|im_start\|>"),
        ("no/such.jinja", "model.chat_template: 'no/such.jinja' cannot be read .*; valid: chatml, or a file"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template: str | None, message: str, tmp_path: Path) -> None:
    config = make_task("sft", tmp_path)
    config["model"] = {"name": str(make_decoder(tmp_path / "plain")), "chat_template": template}
    with pytest.raises(ConfigError, match=message):
        executed(config)


def test_chatml_marks_what_is_trained() -> None:
    assert CHATML.count("{% generation %}") == CHATML.count("{% endgeneration %}") == 1
