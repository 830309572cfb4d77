"""`finetune api`: a trained model behind an API like OpenAI's, and what cannot be served."""

import json
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flows.cli import main
from tasks.artifacts.store import Store
from tasks.config import ConfigError, StoreConfig, load
from tasks.execution.execute import open_store
from tasks.export.servable import servable
from tasks.inference.chat import Chat
from tasks.inference.sampling import Sampling
from tasks.inference.saved_model import INFERENCE, open_saved
from tasks.objectives import objective_of
from tests.flow.scenes import executed
from tests.served import HANG, until
from tests.tiny import WORDS, make_task

CONFIG = load({"model": "saved", "data": "-"}).config


def make_saved(folder: Path, task: str, **loading: str) -> Path:
    """A folder as `finetune run` writes it, as far as it is read before a model is loaded."""
    folder.mkdir(parents=True)
    facts = {name: {} for name in ("head", "shape", "columns", "processor", "arguments", "options")}
    loading = {"auto_model": objective_of(task).auto_model, **loading}
    (folder / INFERENCE).write_text(json.dumps({**facts, "task": task, "loading": loading, "seed": 0}))
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def prepared(run: str | Path, place: Path, store: Store | None = None) -> tuple[Path, list[str]]:
    notes: list[str] = []
    return servable(str(run), store, CONFIG, place, notes.append), notes


@pytest.mark.parametrize("task", ["sft", "dpo", "kto", "language-generation"])
def test_a_whole_model_is_linked(task: str, tmp_path: Path) -> None:
    made = make_saved(tmp_path / "my@model v2", task)
    folder, notes = prepared(made, tmp_path / "place")
    assert folder.name == "my-model-v2" and not notes, "the server reads what follows @ as a revision"
    assert (folder / "model.safetensors").resolve() == made / "model.safetensors"


@pytest.mark.parametrize("task", ["text-classification", "reward", "language-modeling", "sequence-sequence"])
def test_models_that_do_not_answer_are_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"RUN: '.*' was trained for {task}; only models that answer"):
        prepared(make_saved(tmp_path / "made", task), tmp_path / "place")


def test_what_else_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'helper' is not a folder, and there is no store with runs; see --store"):
        prepared("helper", tmp_path / "0")
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=f"has no {INFERENCE}, which `finetune run` writes"):
        prepared(tmp_path / "other", tmp_path / "1")
    own = make_saved(tmp_path / "own", "sft", auto_model="live:mine:Model")
    with pytest.raises(ConfigError, match="is of a class of its own"):
        prepared(own, tmp_path / "2")


def test_arguments_of_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["api", "helper", *words]) == 2
        return capsys.readouterr().err

    assert "data.train: has no effect on a server; valid is model.trust_remote_code" in refused("data.train=x")
    monkeypatch.setattr("flows.verbs.api.find_spec", lambda name: None)
    assert "needs the package openai, which is not installed: pip install openai" in refused()
    monkeypatch.setattr("flows.verbs.api.find_spec", lambda name: True)
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port: cannot listen on localhost:{port}: " in refused("--port", str(port))
    assert "--port: cannot listen on localhost:70000: " in refused("--port", "70000")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("openai") is None, reason="transformers' server needs openai, which is not installed")
def test_it_answers_as_finetune_chat_does(tmp_path: Path) -> None:
    config, log = make_task("sft", tmp_path), tmp_path / "api.log"
    config["train"] |= {"max_steps": 40, "learning_rate": 1e-2}
    executed(config, "name=helper", "peft=lora")  # in the store only
    words = [sys.executable, "-m", "flows.cli", "api", "helper", "--store", str(tmp_path / "store"), "--port", "0"]
    with log.open("wb") as out:
        server = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)
    try:
        until(lambda: "Application startup complete" in log.read_text() or server.poll() is not None)
        found = re.search(r"POST (http://localhost:\d+/v1)/chat/completions, with model 'helper'", log.read_text())
        assert found, log.read_text()
        folder, notes = prepared("helper", tmp_path / "place", open_store(StoreConfig(root=str(tmp_path / "store"))))
        assert notes[0] == "its adapter is merged into its base" and (folder / "model.safetensors").is_file()
        chat = Chat(open_saved(str(folder), CONFIG), Sampling(8))
        expected = [chat.ask(WORDS[1]), chat.ask(WORDS[2])]
        assert any(expected)
        said = []
        for turns in (chat.messages[:1], chat.messages[:3]):
            body = {"model": "helper", "messages": turns, "temperature": 0, "max_tokens": 8}
            said.append(asked(f"{found[1]}/chat/completions", body)["choices"][0]["message"]["content"])
        assert said == expected
        assert [each["id"] for each in asked(f"{found[1]}/models")["data"]] == ["helper"]
        with pytest.raises(HTTPError, match="400"):
            asked(f"{found[1]}/chat/completions", {"model": "other", "messages": chat.messages[:1]})
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(HANG) == 0, log.read_text()


def asked(url: str, body: object = None) -> dict[str, list[dict[str, dict[str, str]]]]:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=HANG) as response:
        return json.load(response)
