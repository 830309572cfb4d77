"""Instruction tuning as a user sees it: a run, its model folder, and new conversations."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from flows.api import plan, rendered_sample
from flows.cli import main
from tasks.config import ConfigError, load
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
        (None, "model.chat_template: conversations need one, and the base has none; set it to chatml"),
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


TURNS = (
    "{% for turn in messages %}{{ turn['role'] + ' ' + turn['content'] + '?' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


@pytest.mark.parametrize("peft", ["none", "lora"])
def test_plain_transformers_stops_where_answers_end(peft: str, tmp_path: Path) -> None:
    """The base ends texts with another token than the template ends answers with, as instruct models do."""
    out, base = tmp_path / "out", make_decoder(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": ".", "additional_special_tokens": ["?"]})
    tokenizer.save_pretrained(base)
    eos, pad, end = tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids([".", "?"])
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [3], "repetition_penalty": 1.5}))
    (tmp_path / "turns.jinja").write_text(TURNS)
    config = make_task("sft", tmp_path) | {"output_dir": str(out), "peft": {"method": peft}}
    config["model"] = {"name": str(base), "chat_template": str(tmp_path / "turns.jinja")}
    config["train"] |= {"max_steps": 1}
    done = executed(config)
    found = GenerationConfig.from_pretrained(out)
    assert found.eos_token_id == [3, eos, end] and found.pad_token_id == pad and found.repetition_penalty == 1.5
    assert done.model.generation_config.eos_token_id == [3, eos, end]
    if peft == "none":
        model = AutoModelForCausalLM.from_pretrained(out)
        head = torch.zeros_like(model.lm_head.weight)
        with torch.no_grad():  # the end token follows whatever was said
            model.lm_head.weight = torch.nn.Parameter(head)
            model.lm_head.bias = torch.nn.Parameter(torch.eye(len(head))[end])
        produced = model.generate(input_ids=torch.tensor([[9, 8]]), max_new_tokens=5)
        assert produced.tolist() == [[9, 8, end]]
    else:
        assert "GenerationConfig.from_pretrained" in (out / "README.md").read_text()


def test_what_the_limit_costs_is_reported_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("a short question", WORDS[0]), ("b", " ".join(WORDS[:40])), (" ".join(WORDS[:30]), WORDS[1])]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": asked, "completion": said}) + "\n" for asked, said in rows))
    config = make_task("sft", tmp_path)
    config["data"] |= {"train": str(data), "split": {"validation": 0.0}, "max_length": 20}
    plan(load(config))
    lines = [each.message for each in caplog.records if each.message.startswith("data.train:")]
    assert lines == [
        "data.train: 1 row without a token to learn from within data.max_length, dropped: rows.jsonl:3",
        "data.train: 2 of 3 rows cut to 20 tokens (data.max_length, data.overlong), which removes 31 of 45 trained "
        "tokens (68.9%)",
    ]
    (tmp_path / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["lint", str(tmp_path / "config.json")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "trained tokens: 45, of which the limit removes 31" in shown
    assert "1 row without a token to learn from within data.max_length, dropped: rows.jsonl:3" in shown


def test_a_plan_shows_a_row_and_what_of_it_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_task("sft", tmp_path)

    def loading(*_: object, **__: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", loading)
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = rendered_sample(load(config))
    assert found is not None and [found.text[start:end] for start, end in found.spans] == ["river<|end|>"]
    assert main(["plan", str(tmp_path / "config.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["rendered"]
    assert told["text"] == found.text and told["row"] == found.row
    assert main(["plan", str(tmp_path / "config.json")]) == 0
    start, end = found.spans[0]
    marked = f"{found.text[:start]}[[{found.text[start:end]}]]{found.text[end:]}"
    assert marked in capsys.readouterr().out
    other = tmp_path / "rows.jsonl"
    other.write_text("".join(json.dumps({"text": word}) + "\n" for word in WORDS))
    config = {**config, "task": "language-generation", "data": {"train": str(other), "leakage": "off"}}
    assert rendered_sample(load(config)) is None


def test_raw_texts_need_no_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({"text": " ".join(WORDS[at : at + 5])}) + "\n" for at in range(40)))
    config = make_task("sft", tmp_path) | {"output_dir": str(out)}
    config["model"] = {"name": str(make_decoder(tmp_path / "plain"))}
    config["data"] |= {"train": str(data), "leakage": "off"}
    config["train"] |= {"max_steps": 1}
    done = executed(config)
    assert any("data.train: the rows are raw texts" in line for line in done.warnings)
    assert """('text-generation', '.')("your text"))""" in (out / "README.md").read_text()
    eos = AutoTokenizer.from_pretrained(out).eos_token_id
    stops = GenerationConfig.from_pretrained(out).eos_token_id
    assert eos in (stops if isinstance(stops, list) else [stops])
    capsys.readouterr()
    assert main(["predict", str(out), str(data), "--max-new-tokens", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 40
    assert main(["evaluate", str(out), str(data), "--json"]) == 0
    with pytest.raises(ConfigError, match=r"data.train_on: assistant given, but the rows are raw texts"):
        plan(load(config, ["data.train_on=assistant"]))
