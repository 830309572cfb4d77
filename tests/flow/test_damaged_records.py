"""A run's record that is not one is named and left out: it ends no command, and makes `gc` remove nothing more."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.terminal.runs import show_comparison, show_report, show_runs
from tasks.artifacts.runs import read_run
from tasks.artifacts.store import Miss, Store
from tasks.artifacts.upkeep.gc import collect
from tasks.results.compare import compare
from tasks.results.report import gather
from tasks.runtime.runs import run_line, runs

START, END = "2024-01-01T00:00:00+00:00", "2024-01-01T00:00:01+00:00"
STAGE = {"stage": "s12_handoff", "key": "ab", "state": "built", "seconds": 1.0, "reason": "first run"}
WHOLE: dict[str, Any] = {
    "state": "completed", "started": START, "updated": END, "name": "a name", "stages": [STAGE],
    "given": [["seed", 1, "x"]],
    "config": {"task": "text-classification", "model": {"name": "m"}, "eval": {"best": None}},
    "metrics": {"test_accuracy": 0.5}, "intervals": {"test_accuracy": [0.4, 0.6]},
    "slices": {"column": {"value": {"rows": 1, "accuracy": None}}},
    "classes": {"test": {"scores": {"a": {"rows": 1, "precision": 1.0, "recall": 1.0, "f1": 1.0}}}},
    "data": {"rows": {"train": 3}, "columns": {"text": "t"}, "sources": {}, "warnings": []},
}  # fmt: skip
ODD: list[Any] = [
    [], {}, "text", 1.5, None, True, "9" * 400, [[]], [{}], [1], {"a": []}, {"a": {}}, float("nan"), "[/x]",
]  # fmt: skip
FIELDS = [
    *((name,) for name in WHOLE), ("building",), ("kept",), ("failure",), ("warnings",), ("config_file",),
    ("model_path",),
    *(("stages", 0, name) for name in (*STAGE, "warnings")), *(("config", name) for name in ("task", "model", "train")),
    ("config", "eval", "best"), ("data", "rows"), ("data", "columns"), ("data", "warnings"), ("data", "sources"),
    ("intervals", "test_accuracy"), ("slices", "column"), ("slices", "column", "value"), ("classes", "test"),
    ("slices", "column", "value", "accuracy"), ("given", 0), ("given", 0, 0), ("given", 0, 2),
]  # fmt: skip
NO_RECORDS = [b"", b"[]", b"1", b"null", b'"text"', b"\xff\x00", b"[" * 100_000, b'{"state": "comp', b'{"state": 1}']


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "store/runs").mkdir(parents=True)
    (tmp_path / "store/runs/whole.json").write_text(json.dumps(WHOLE))
    return tmp_path / "store"


def say(*words: str, store: Path) -> int:
    return main([*words, "--store", str(store)])


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
def test_a_record_with_an_odd_value_is_shown_or_damaged(path: tuple[Any, ...], store: Path) -> None:
    here = Store(str(store))
    for odd in ODD:
        record = json.loads(json.dumps(WHOLE))
        inner = record
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = odd
        (store / "runs/odd.json").write_text(json.dumps(record))
        known = {each["run"]: each for each in runs(here)}
        show_runs([run_line(here, each) for each in known.values()])
        assert ("odd" in known) is not isinstance(read_run(here, "runs/odd.json"), Miss)
        if "odd" in known:
            show_report(gather(here, known["odd"]))
            show_comparison(known["whole"], known["odd"], compare(here, known["whole"], known["odd"]))
        collect(here)


@pytest.mark.parametrize("content", NO_RECORDS)
def test_what_is_no_record_is_named_and_takes_no_run_s_place(
    content: bytes, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "runs/torn.json").write_bytes(content)
    (store / "runs/folder.json").mkdir()
    assert say("runs", store=store) == 0
    out, err = capsys.readouterr()
    assert "whole" in out and "torn" not in out and "runs/torn.json in the store" in err
    assert say("show", "torn", store=store) == 2
    assert say("gc", store=store) == 0 and "runs/torn.json is damaged" in capsys.readouterr().out
    found = collect(Store(str(store)), keep_runs=1, grace_hours=0)
    assert not [name for name in found.names if name.startswith("runs/")], "the whole one is the last run"


def test_a_record_without_a_start_is_the_oldest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, start in (("a", None), ("b", "2020-01-01T00:00:00"), ("c", "2023-01-01T00:00:00+02:00")):
        (store / f"runs/{name}.json").write_text(json.dumps({**WHOLE, "started": start}))
    assert say("runs", "--json", store=store) == 0
    assert [each["run"] for each in json.loads(capsys.readouterr().out)["runs"]] == ["whole", "c", "b", "a"]
    assert collect(Store(str(store)), keep_runs=3, grace_hours=0).names == ["runs/a.json"]
