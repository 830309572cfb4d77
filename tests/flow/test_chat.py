"""`finetune chat`: turns, the system message, sampling, and a conversation that becomes too long."""

import io
from pathlib import Path

import pytest

from flows.cli import main
from tasks.config import load
from tasks.inference.chat import Chat
from tasks.inference.sampling import Sampling
from tasks.inference.saved_model import Saved, open_saved
from tests.flow.scenes import executed
from tests.tiny import WORDS, make_task


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    config = make_task("sft", folder) | {"output_dir": str(folder / "out")}
    config["train"] |= {"max_steps": 2}
    executed(config)
    return folder / "out"


def opened(model: Path) -> Saved:
    return open_saved(str(model), load({"model": "saved", "data": "-"}).config)


def test_a_conversation_goes_on(model: Path) -> None:
    chat, parts = Chat(opened(model), Sampling(4), system=WORDS[0]), []
    first = chat.ask(WORDS[1], parts.append)
    assert "".join(parts) == first
    chat.ask(WORDS[2])
    assert [turn["role"] for turn in chat.messages] == ["user", "assistant"] * 2
    assert [turn["content"] for turn in chat.messages[:3]] == [WORDS[1], first, WORDS[2]]
    chat.reset()
    assert chat.ask(WORDS[1]) == first, "without sampling the same question has the same answer"


def test_sampling_depends_on_the_seed_only(model: Path) -> None:
    answers = [Chat(opened(model), Sampling(8, temperature=2.0, seed=seed)).ask(WORDS[1]) for seed in (1, 1, 2, 3)]
    assert answers[0] == answers[1] and len({*answers}) > 1


def test_old_turns_make_room(model: Path) -> None:
    notes: list[str] = []
    chat = Chat(opened(model), Sampling(8), system=WORDS[0], info=notes.append)
    for word in WORDS[:6]:
        chat.ask(" ".join([word] * 12))
    assert len(chat.messages) < 12 and "old messages are left out" in notes[-1]
    assert chat.messages[0]["role"] == "user" and chat.messages[-2]["content"].startswith(WORDS[5])


def test_the_command(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def said(text: str, *options: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code = main(["chat", str(model), "--max-new-tokens", "4", *options])
        found = capsys.readouterr()
        return code, found.out.splitlines(), found.err

    code, lines, _ = said(f"{WORDS[0]}\n\n/reset\n{WORDS[0]}\n/exit\n{WORDS[1]}\n")
    assert code == 0 and len(lines) == 2 and lines[0] == lines[1]
    code, lines, told = said(" ".join(WORDS[:63]) + "\n")
    assert code == 2 and not lines and "tokens leave no room for an answer of 4: the model takes 64" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "--temperature: -1.0 given; valid: 0 or more"),
        (["--temperature", "1", "--top-p", "0"], "--top-p: 0.0 given; valid: above 0, at most 1"),
        (["--top-p", "0.5"], "--top-p: has no effect without --temperature"),
        (["--max-new-tokens", "0"], "--max-new-tokens: 0 given; valid: a whole number, 1 or more"),
        (["data.format=csv"], "data.format: has no effect"),
    ],
)
def test_what_is_refused(
    options: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["chat", str(model), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_model_for_another_task(bert: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.tiny import make_config

    executed(make_config(bert, rows, tmp_path / "store", train__max_steps=1, output_dir=str(tmp_path / "out")))
    assert main(["chat", str(tmp_path / "out")]) == 2
    assert "was trained for text-classification, not on conversations (task: sft)" in capsys.readouterr().err
