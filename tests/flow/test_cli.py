"""Every verb as a user types it, and what a run leaves behind: nothing it was not asked for."""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import jsonschema
import psutil
import pytest
import yaml

from flows.cli import main
from tasks import STAGES
from tasks.config import load
from tasks.config.reading.yaml_file import read
from tasks.runtime.environment import environment
from tests.served import HANG, until
from tests.tiny import make_config

PRESETS = Path(__file__).parents[2] / "deployments" / "presets"
VERBS = ("init", "run", "plan", "grid", "align", "continual", "lint", "runs", "show", "compare", "serve", "schema",
         "gc", "verify", "server")  # fmt: skip
HEAVY = ("torch", "transformers", "prefect", "peft", "datasets", "pyarrow", "numpy")
# Runs a verb and says, last on stderr, which modules that took.
PROBE = """
import sys
from flows.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
import json
print(json.dumps({"modules": sorted({name.split(".")[0] for name in sys.modules})}), file=sys.stderr)
sys.exit(code)
"""
# Refuses, and writes down, every connection that would leave the machine.
GUARD = """
import os, socket
def _guard(name):
    real = getattr(socket.socket, name)
    def connect(self, address):
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if host not in ("127.0.0.1", "::1", "localhost"):
            with open(os.environ["CALLS"], "a") as file:
                print(host, file=file)
            raise OSError(f"no network in this test: {host}")
        return real(self, address)
    setattr(socket.socket, name, connect)
for name in ("connect", "connect_ex"):
    _guard(name)
_resolve = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1"):
        with open(os.environ["CALLS"], "a") as file:
            print(host, file=file)
        raise socket.gaierror(f"no network in this test: {host}")
    return _resolve(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str
    children: set[int] = field(default_factory=set)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])

    @property
    def states(self) -> dict[str, str]:
        return {entry["stage"]: entry["state"] for entry in self.json["stages"]}


@dataclass(frozen=True)
class Desk:
    """A folder with a config in it, and the places a process might leave things in."""

    place: Path
    environment: Mapping[str, str]

    @property
    def calls(self) -> Path:
        return Path(self.environment["CALLS"])

    def start(self, *words: str, probe: bool = False) -> subprocess.Popen[str]:
        program = ["-c", PROBE] if probe else ["-m", "flows.cli"]
        return subprocess.Popen(
            [sys.executable, *program, *words], cwd=self.place / "cwd", env=dict(self.environment), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, probe: bool = False) -> Answer:
        child, seen = self.start(*words, probe=probe), set[int]()
        process = psutil.Process(child.pid)
        while child.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                seen |= {each.pid for each in process.children(recursive=True)}
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = child.communicate(timeout=0.3)
                return Answer(child.returncode, out, err, seen)
        out, err = child.communicate()
        return Answer(child.returncode, out, err, seen)

    def left(self) -> dict[str, list[str]]:
        """What lies in the folders in which nothing may."""
        return {
            name: sorted(str(path.relative_to(self.place / name)) for path in (self.place / name).rglob("*"))
            for name in ("cwd", "home", "tmp")
        }


NOTHING: Mapping[str, list[str]] = {"cwd": [], "home": [], "tmp": []}


def make_desk(place: Path, config: Mapping[str, Any]) -> Desk:
    """A desk whose processes see neither the user's home nor a network nor a Prefect server."""
    for name in ("cwd", "home", "tmp", "site"):
        (place / name).mkdir(parents=True)
    (place / "run.yaml").write_text(yaml.safe_dump(dict(config)))
    (place / "site" / "sitecustomize.py").write_text(GUARD)
    dropped = ("PREFECT_", "XDG_", "HF_", "FINETUNE_", "PYTEST_", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment |= {
        "HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "PYTHONPATH": str(place / "site"),
        "CALLS": str(place / "calls"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return Desk(place, environment)


def call(*words: str) -> Answer:
    """A verb in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Answer(code, out.getvalue(), err.getvalue())


def config_file(folder: Path, bert: Path, rows: Path, **more: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(make_config(bert, rows, folder / "store", **more), sort_keys=False))
    return path


@dataclass(frozen=True)
class Ran:
    """A run that has been made, for tests that look at what it left."""

    config: Path
    store: Path
    out: Path
    answer: Answer


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, bert: Path, rows: Path, prefect_url: str) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    config = config_file(folder, bert, rows, output_dir=str(folder / "out"))
    with environment({"PREFECT_API_URL": prefect_url}):
        answer = call("run", str(config), "train.weight_decay=0.02", "--json")
    return Ran(config, folder / "store", folder / "out", answer)


@pytest.mark.parametrize("words", [("--help",), *((verb, "--help") for verb in VERBS)], ids=" ".join)
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True)
    took = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 0
    assert done.stdout.startswith("usage: finetune")
    assert not set(HEAVY) & set(took["modules"])


def test_help_names_every_verb() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main(["--help"])
    assert all(f"\n    {verb} " in out.getvalue() or f"\n    {verb}\n" in out.getvalue() for verb in VERBS)


def test_run_ends_stdout_with_one_object(ran: Ran) -> None:
    assert ran.answer.code == 0
    assert len(ran.answer.out.splitlines()) == 1
    found = ran.answer.json
    assert list(found) == ["stages", "metrics", "classes", "model_path", "run", "warnings"]
    assert [entry["stage"] for entry in found["stages"]] == list(STAGES)
    for entry in found["stages"]:
        assert list(entry) == ["stage", "state", "seconds", "key", "reason", "warnings", "of"]
        assert entry["state"] == "built"
        assert len(entry["key"]) == 64
    assert found["model_path"] == str(ran.out)
    assert 0 <= found["metrics"]["test_accuracy"] <= 1
    assert (ran.store / "runs" / f"{found['run']}.json").exists()


def test_plan_before_a_run_spends_nothing(
    tmp_path: Path, bert: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def loads(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan loads no weights")

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", loads)
    answer = call("plan", str(config_file(tmp_path, bert, rows)), "--json")
    found = answer.json
    assert answer.code == 0
    assert set(answer.states.values()) == {"miss"}
    assert list(answer.states) == list(STAGES)
    assert all(entry["reason"] for entry in found["stages"])
    assert found["steps"] == 16  # 58 rows, batches of 8, two epochs
    assert found["tokens"] > 58 * 2
    assert found["memory"] == sum(found["memory_parts"].values()) > 0 and found["disk"] > 0
    assert not (tmp_path / "store").exists()


def test_plan_after_a_run_is_all_hits(ran: Ran) -> None:
    before = sorted(ran.store.rglob("*"))
    answer = call("plan", str(ran.config), "train.weight_decay=0.02", "--json")
    assert set(answer.states.values()) == {"hit"}
    assert sorted(ran.store.rglob("*")) == before


def test_plan_says_which_field_changed(ran: Ran) -> None:
    answer = call("plan", str(ran.config), "train.weight_decay=0.5", "--json")
    reasons = {entry["stage"]: entry["reason"] for entry in answer.json["stages"]}
    assert reasons["s01_arguments"].startswith("CONFIG") and "weight_decay" in reasons["s01_arguments"]
    assert answer.states["s05_tokenize"] == answer.states["s07_adapter"] == "hit"
    assert answer.states["s09_train"] == "miss"
    assert f"holds the model of run {ran.answer.json['run']} (train.weight_decay" in answer.json["overwrites"]
    assert "; a run replaces it" in call("plan", str(ran.config), "train.weight_decay=0.5").out


def test_overrides_stand_anywhere(ran: Ran) -> None:
    words = ("train.max_steps=3", "--json", "train.weight_decay=0.02", "--store", str(ran.store), "seed=7")
    answer = call("plan", str(ran.config), *words)
    assert answer.json["steps"] == 3
    assert answer.states["s02_seed"] == "miss"
    assert answer.states["s05_tokenize"] == "hit"


def test_the_resolved_config_is_the_same_run(ran: Ran, prefect_api: str) -> None:
    resolved = ran.out / "config.resolved.yaml"
    text = resolved.read_text()
    lines: dict[str, str] = {}
    for line in text.splitlines():
        lines.setdefault(line.split(":")[0].strip(), line)
    assert "command line" in lines["weight_decay"]
    assert "run.yaml:" in lines["learning_rate"]
    assert "default of text-classification" in lines["lr_scheduler_type"]
    assert "of text-classification" in lines["max_length"]
    assert lines["seed"].endswith("# default")
    again = call("run", str(resolved), "--json")
    assert set(again.states.values()) == {"cached"}


def test_schema_admits_the_quickstart_and_no_typo() -> None:
    answer = call("schema")
    schema, quickstart = json.loads(answer.out), read(PRESETS / "quickstart.yaml").values
    jsonschema.validate(quickstart, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**quickstart, "trian": {}}, schema)


def test_lint(ran: Ran) -> None:
    answer = call("lint", str(ran.config), "--json")
    assert answer.json["rows"] == {"train": 58, "validation": 19, "test": 19}
    assert answer.json["classes"] == 3
    assert "no errors" in call("lint", str(ran.config)).out


def test_verify_finds_a_flipped_byte_and_a_run_mends_it(ran: Ran, tmp_path: Path, prefect_api: str) -> None:
    store = tmp_path / "store"
    shutil.copytree(ran.store, store)
    assert call("verify", "--store", str(store)).code == 0
    blob = max((store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    found = call("verify", "--store", str(store))
    assert found.code == 5
    assert f"rotten blob: blobs/{blob.name}" in found.out
    assert "s09_train" in found.out
    again = call("run", str(ran.config), "train.weight_decay=0.02", "--store", str(store), "--json")
    assert again.code == 0
    assert again.states["s09_train"] == "built"
    assert call("verify", "--store", str(store)).code == 0


def test_gc_says_what_and_removes_only_when_told(ran: Ran, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(ran.store, store)
    assert call("gc", "--store", str(store)).out.startswith("0 objects")
    told = call("gc", "--store", str(store), "--keep-runs", "0", "--grace-hours", "0").out
    assert "are unused; --yes deletes them" in told and not told.startswith("0 objects")
    assert sorted((store / "blobs").iterdir())
    swept = call("gc", "--store", str(store), "--keep-runs", "0", "--grace-hours", "0", "--yes").out
    assert swept.split(",")[0] == told.split(",")[0]
    assert not list(store.glob("blobs/*")) and not list(store.glob("records/*/*"))


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_load_and_plan(preset: Path, tmp_path: Path) -> None:
    loaded = load(preset)
    if str(loaded.config.data.train).startswith("package:"):  # the others name files that their user has
        answer = call("plan", str(preset), "--store", str(tmp_path / "store"), "--json")
        assert answer.code == 0
        assert answer.json["steps"] > 0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, bert: Path, rows: Path) -> tuple[Desk, Answer, Answer]:
    """Two identical runs, each in a process of its own on a desk of its own; no output_dir, no server."""
    place = tmp_path_factory.mktemp("alone")
    desk = make_desk(place, make_config(bert, rows, place / "store"))
    return desk, desk.run("run", "../run.yaml", "--json", probe=True), desk.run(
        "run", "../run.yaml", "--json", probe=True
    )  # fmt: skip


@pytest.mark.slow
def test_the_second_run_imports_nothing_heavy(alone: tuple[Desk, Answer, Answer]) -> None:
    _, first, second = alone
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert set(second.states.values()) == {"cached"}
    assert "torch" in json.loads(first.err.splitlines()[-1])["modules"]
    assert not {"torch", "transformers", "peft", "matplotlib"} & set(json.loads(second.err.splitlines()[-1])["modules"])


@pytest.mark.slow
def test_nothing_is_left_outside_the_store(alone: tuple[Desk, Answer, Answer]) -> None:
    assert alone[0].left() == NOTHING
    assert not list((alone[0].place / "store").rglob("*.tmp"))


@pytest.mark.slow
def test_no_child_is_left_after_a_run(alone: tuple[Desk, Answer, Answer]) -> None:
    for answer in alone[1:]:
        assert answer.children, "the run's own API was not seen"
        assert not [pid for pid in answer.children if psutil.pid_exists(pid)]


@pytest.mark.slow
def test_no_call_leaves_the_machine(alone: tuple[Desk, Answer, Answer]) -> None:
    desk = alone[0]
    assert not desk.calls.exists(), desk.calls.read_text()
    blocked = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    refused = subprocess.run([sys.executable, "-c", blocked], env=dict(desk.environment), capture_output=True)
    assert refused.returncode != 0 and desk.calls.read_text().startswith("192.0.2.1")  # the guard does guard
    desk.calls.unlink()


@pytest.mark.slow
def test_a_store_in_memory_leaves_nothing(tmp_path: Path, bert: Path, rows: Path) -> None:
    desk = make_desk(tmp_path, make_config(bert, rows, "memory"))
    answer = desk.run("run", "../run.yaml", "--json")
    assert answer.code == 0, answer.err
    assert desk.left() == NOTHING


@pytest.mark.slow
def test_no_child_is_left_after_a_kill(tmp_path: Path, bert: Path, rows: Path) -> None:
    desk = make_desk(tmp_path, make_config(bert, rows, tmp_path / "store", train__num_train_epochs=500))
    run = desk.start("run", "../run.yaml")
    assert run.stderr is not None
    for line in run.stderr:
        if "s08_trainer" in line:
            break
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=HANG)
    assert not alive


@pytest.fixture
def server(tmp_path: Path, bert: Path, rows: Path) -> Iterator[tuple[Desk, str]]:
    """A desk, and the address of the lasting server it started."""
    desk = make_desk(tmp_path, make_config(bert, rows, tmp_path / "store"))
    desk = Desk(desk.place, {**desk.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    try:
        assert desk.run("server", "status").code == 1
        started = desk.run("server", "start", "--port", "0")
        assert started.code == 0, started.err
        yield desk, re.findall(r"http://127\.0\.0\.1:\d+", started.out + started.err)[0]
    finally:
        desk.run("server", "stop")


@pytest.mark.slow
def test_a_lasting_server_shows_runs(server: tuple[Desk, str]) -> None:
    desk, url = server
    assert f"running at {url}" in desk.run("server", "status").out
    runs = [desk.run("run", "../run.yaml", "--json") for _ in range(2)]
    for name, answer in zip(("Completed", "Cached"), runs, strict=True):
        assert answer.code == 0, answer.err
        assert f"watch it at {url}/runs" in answer.err
        flow = ask(url, "flow_runs", {"flow_runs": {"name": {"any_": [answer.json["run"].rsplit("-", 1)[0]]}}})[0]
        assert flow["state"]["type"] == "COMPLETED"
        tasks = ask(url, "task_runs", {"task_runs": {"flow_run_id": {"any_": [flow["id"]]}}}, len(STAGES))
        assert sorted(task["name"].rsplit("-", 1)[0] for task in tasks) == sorted(STAGES)
        assert {task["state"]["name"] for task in tasks} == {name}
        assert all(task["state"]["message"] for task in tasks)
    assert desk.run("server", "stop").out == "stopped\n"
    assert desk.run("server", "status").code == 1


def ask(url: str, kind: str, body: Mapping[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """What the server knows, once it knows it: events reach its database a moment after the run ends."""
    request = Request(f"{url}/api/{kind}/filter", json.dumps(body).encode(), {"Content-Type": "application/json"})

    def settled() -> list[dict[str, Any]] | None:
        with urlopen(request) as response:
            found = json.load(response)
        whole = len(found) == count and all(each["state"]["type"] == "COMPLETED" for each in found)
        return found if whole else None

    return until(settled)
