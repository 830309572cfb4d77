"""README.md is true: its commands run, its Python runs, and what it points at is there."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli import main
from tasks import STAGES
from tasks.config.formats import FORMATS
from tests.served import HANG, until
from tests.tiny import make_rows

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# The quickstart in full takes minutes where cores are shared; three steps take the same way through every stage.
QUICKSTART = f"run {ROOT}/deployments/presets/quickstart.yaml train.max_steps=3"


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture
def desk(tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder a reader of the README would be in: their CSV, their model, the YAML as printed."""
    shutil.copytree(bert, tmp_path / "models" / "encoder")
    make_rows(tmp_path / "reviews.csv")
    (tmp_path / "reviews.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path
    main(["server", "stop"])  # where a command failed between start and stop


COMMANDS = [words for line in "\n".join(blocks("bash")).splitlines() if (words := shlex.split(line, comments=True))]
SERVING = [
    words for words in COMMANDS if words[0] == "prefect" or words[:2] in (["finetune", "server"], ["finetune", "serve"])
]


@pytest.mark.slow
def test_every_command_runs(desk: Path, prefect_api: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (words for words in COMMANDS if words not in SERVING):
        program, *rest = words
        if words == ["make", "quickstart"]:
            assert main(QUICKSTART.split()) == 0
            assert (desk / "runs" / "quickstart" / "model.safetensors").exists()
        elif program == "make":  # running the tests from a test would not end
            subprocess.run(["make", "--dry-run", *rest], cwd=ROOT, check=True, capture_output=True)
        elif program == "finetune":
            assert main(rest) == 0, words
        elif program == ".venv/bin/pip":
            assert rest[:2] == ["install", "--constraint"]
            assert (ROOT / rest[2]).exists()
        else:
            assert words == ["python3", "-m", "venv", ".venv"], words
    assert {words[0] for words in COMMANDS} == {"make", "finetune", "prefect", "python3", ".venv/bin/pip"}
    assert (desk / "runs" / "reviews" / "model.safetensors").exists()
    assert (desk / "runs" / "reviews-lora" / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_every_command_of_serving_runs(desk: Path, prefect_api: str) -> None:
    for program, *rest in SERVING:
        if program == "prefect":
            environment = os.environ | {"PWD": str(ROOT)}
            assert subprocess.run([PREFECT, *rest], cwd=ROOT, env=environment).returncode == 0, rest
        elif rest == ["serve"]:
            serve_and_end(desk)
        else:
            assert main([*rest, *(["--port", "0"] if rest == ["server", "start"] else [])]) == 0, rest


@pytest.mark.slow
def test_python_runs_as_it_stands(desk: Path) -> None:
    script: list[str] = []
    for block in blocks("python"):
        first = block.splitlines()[0]
        if first.startswith("# ") and first.endswith(".py"):
            (desk / first.removeprefix("# ")).write_text(block)
        else:
            script.append(block)
    assert len(script) == 3
    checks = 'assert not model.training and done.metrics and done.path.name == "reviews"\n'
    (desk / "page.py").write_text("\n".join([*script, checks]))
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run([sys.executable, "page.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_what_it_names_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    quoted = re.findall(r"`((?:flows|tasks|tests|deployments)/[^`\s]*|constraints\.txt)`", README)
    assert len(quoted) > 20
    missing = [path for path in (*links, *quoted) if not (ROOT / path).exists()]
    assert not missing


def test_it_names_every_stage_once_and_in_order() -> None:
    assert re.findall(r"^\| `(s\d\d_\w+)` \|", README, re.MULTILINE) == list(STAGES)


def test_it_lists_every_format_with_its_suffixes() -> None:
    table = README.split("| `data.format` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\|", table, re.MULTILINE)
    assert {name: tuple(re.findall(r"`(.+?)`", files)) for name, files in rows} == {
        name: each.suffixes for name, each in FORMATS.items()
    }


def serve_and_end(desk: Path) -> None:
    """Until its worker works; then Ctrl-C."""
    log, environment = desk / "serve.log", {name: os.environ[name] for name in os.environ if name != "PREFECT_API_URL"}
    with log.open("wb") as out:
        words = [sys.executable, "-m", "flows.cli", "serve", "--port", "0"]
        served = subprocess.Popen(words, cwd=desk, env=environment, stdout=out, stderr=out, start_new_session=True)
    until(lambda: "started!" in log.read_text() or served.poll() is not None)
    served.send_signal(signal.SIGINT)
    assert served.wait(HANG) == 0, log.read_text()
    assert "stopped!" in log.read_text()
