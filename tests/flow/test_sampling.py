"""`finetune predict` with options of sampling: for every task that generates, and refused for others."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows import predict
from flows.cli import main
from tasks.config import ConfigError
from tasks.inference.sampling import Sampling
from tests.tiny import WORDS, make_bert, make_chat, make_decoder, make_t5

BASES = {"sft": (make_chat, "prompt"), "language-generation": (make_decoder, "text"),
         "sequence-sequence": (make_t5, "source")}  # fmt: skip


@pytest.fixture(scope="module", params=list(BASES))
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A model, rows, the task."""
    folder, (make, column) = tmp_path_factory.mktemp("sampling"), BASES[request.param]
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({column: " ".join(WORDS[at : at + 3])}) + "\n" for at in range(3)))
    return str(make(folder / "model")), str(rows), request.param


def texts(asked: tuple[str, str, str], out: Path, **how: Any) -> list[str]:
    model, rows, task = asked
    predict(model, rows, out, task=task, **how)
    return [json.loads(line)["prediction"] for line in out.read_text().splitlines()]


def test_the_seed_decides_what_is_sampled(asked: tuple[str, str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    plain = texts(asked, out, max_new_tokens=8)
    assert texts(asked, out, max_new_tokens=8, temperature=0) == plain
    assert texts(asked, out, max_new_tokens=8, temperature=3.0, top_k=1, seed=5) == plain
    assert texts(asked, out, max_new_tokens=8, temperature=3.0, top_p=1e-6, seed=5) == plain
    first, again, other = (texts(asked, out, max_new_tokens=8, temperature=3.0, seed=seed) for seed in (1, 1, 2))
    assert first == again and len({*map(tuple, (plain, first, other))}) == 3
    assert all(len(text.split()) <= 8 for text in first)
    assert max(len(text.split()) for text in texts(asked, out, max_new_tokens=2, temperature=3.0)) <= 2
    assert len(texts(asked, out, max_new_tokens=8, num_beams=3)) == 3


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = make_chat(tmp_path / "chat"), tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": WORDS[0]}) + "\n")
    options = ["--temperature", "2", "--top-p", "0.9", "--top-k", "20", "--max-new-tokens", "6", "--seed", "3"]
    assert main(["predict", str(model), str(rows), "--task", "sft", *options]) == 0
    found = json.loads(capsys.readouterr().out)["prediction"]
    done = texts((str(model), str(rows), "sft"), tmp_path / "out.jsonl", temperature=2, top_p=0.9, top_k=20,
                 max_new_tokens=6, seed=3)  # fmt: skip
    assert done == [found]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": -0.5}, "--temperature: -0.5 given; valid: 0 or more"),
        ({"temperature": float("nan")}, "--temperature: nan given"),
        ({"temperature": True}, "--temperature: True given"),
        ({"temperature": "hot"}, "--temperature: 'hot' given"),
        ({"temperature": 1, "top_p": 1.5}, "--top-p: 1.5 given; valid: above 0, at most 1"),
        ({"temperature": 1, "top_k": -1}, "--top-k: -1 given; valid: a whole number; 0: all tokens"),
        ({"temperature": 1, "top_k": 2.0}, "--top-k: 2.0 given"),
        ({"temperature": 1, "seed": -1}, "--seed: -1 given; valid: a whole number below 2\\*\\*32"),
        ({"num_beams": 0}, "--num-beams: 0 given; valid: a whole number, 1 or more"),
        ({"max_new_tokens": 0}, "--max-new-tokens: 0 given"),
        ({"top_k": 5}, "--top-k: has no effect without --temperature"),
        ({"temperature": 0, "top_p": 0.9}, "--top-p: has no effect without --temperature"),
        ({"seed": 5}, "--seed: has no effect without --temperature"),
    ],
)
def test_values_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**given)


def test_limits(asked: tuple[str, str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(ConfigError, match=r"--max-new-tokens: given beside train.generation_max_length, which means"):
        texts(asked, out, max_new_tokens=3, overrides=["train.generation_max_length=4"])
    if asked[2] == "sequence-sequence":
        return  # T5 has no positions that could run out
    with pytest.raises(
        ConfigError, match=r"--max-new-tokens: 64 given; the model takes 64 tokens, those of the prompt"
    ):
        texts(asked, out, max_new_tokens=64)
    notes: list[str] = []
    texts(asked, out, max_new_tokens=62, info=notes.append)
    assert any("3 of 3 rows are longer than the model's 2 tokens" in line for line in notes), notes


def test_tasks_that_generate_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = make_bert(tmp_path / "bert"), tmp_path / "rows.jsonl"
    rows.write_text('{"text": "balen"}\n')
    command = ["predict", str(model), str(rows), "--task", "fill-mask", "--temperature", "1", "--max-new-tokens", "4"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "--max-new-tokens, --temperature: has no effect on language-modeling, which generates no texts" in told
