"""`finetune runs`, `show`, `compare` and `gc` know the sweeps of a store, with neither a server nor torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.store import Store
from tasks.artifacts.upkeep.gc import collect
from tasks.sweep.summary import lead
from tests.flow.test_cli import PROBE, call

RATES = {"red-ant-1": 1e-3, "red-bee-2": 2e-3}
FINISHED = {
    "state": "partial", "metric": "eval_accuracy", "greater_is_better": True, "built": {"s09_train": 2}, "rungs": [],
    "steps": {"spent": 8, "full": 12}, "name": "topics", "task": "text-classification", "model": "m",
}  # fmt: skip


def write_sweep(store: Path, name: str, day: int = 1, **more: Any) -> None:
    """A sweep of three cells, the last of which failed; the second is the best."""
    rates = list(RATES.items())
    cells = [
        {"overrides": {"train.learning_rate": rate}, "group": at, "state": "completed", "run": run,
         "metrics": {"eval_accuracy": rate * 100}} for at, (run, rate) in enumerate(rates)
    ]  # fmt: skip
    failed = {"overrides": {"train.learning_rate": 9.0}, "group": 2, "state": "failed", "metrics": {}, "run": None}
    board = [
        {"rank": 2 - at, "value": cell["metrics"]["eval_accuracy"], "spread": None, "seeds": 1, "share": 1.0,
         "error": None, **{key: cell[key] for key in ("overrides", "group", "state", "metrics")}}
        for at, cell in enumerate(cells)
    ]  # fmt: skip
    lost = {**failed, "rank": None, "value": None, "spread": None, "share": 0.0, "error": "the loss diverged"}
    best = {"overrides": {"train.learning_rate": 2e-3}, "metrics": {"eval_accuracy": 0.2, "test_accuracy": 0.25},
            "run": f"best-of-{name}", "path": None, "kept": None, "cell": 1}  # fmt: skip
    record = {
        **FINISHED, "grid": name, "started": f"2026-01-{day:02}T00", "ended": f"2026-01-{day:02}T20",
        "cells": [*cells, failed], "leaderboard": [*board[::-1], lost], "best": best, **more,
    }  # fmt: skip
    (store / "grids").mkdir(parents=True, exist_ok=True)
    (store / "grids" / f"{name}.json").write_text(json.dumps(record))


def write_run(store: Path, name: str, started: str, **more: Any) -> None:
    (store / "runs").mkdir(parents=True, exist_ok=True)
    record = {"run": name, "state": "completed", "started": started, "stages": [], "name": "topics", **more}
    (store / "runs" / f"{name}.json").write_text(json.dumps(record))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one sweep: the runs of its cells, of its best, and its record."""
    write_sweep(tmp_path, "tall-elk-1", report=str(tmp_path / "grid.html"))
    for hour, run in enumerate([*RATES, "best-of-tall-elk-1"], 1):
        write_run(tmp_path, run, f"2026-01-01T0{hour}")
    (tmp_path / "grid.html").touch()
    return tmp_path


def test_sweeps_are_listed_beside_runs(store: Path) -> None:
    write_sweep(store, "tall-fox-2", day=2, best=None, state="failed")
    found = call("runs", "--store", str(store), "--json").json
    assert [each["run"] for each in found["runs"]] == ["best-of-tall-elk-1", "red-bee-2", "red-ant-1"]
    assert [each["sweep"] for each in found["sweeps"]] == ["tall-fox-2", "tall-elk-1"]
    assert found["sweeps"][1] == {
        "sweep": "tall-elk-1", "state": "partial", "started": "2026-01-01T00", "name": "topics",
        "task": "text-classification", "model": "m", "metric": "eval_accuracy", "report": str(store / "grid.html"),
        "cells": 3, "failed": 1, "best": {"train.learning_rate": 2e-3}, "best_run": "best-of-tall-elk-1", "value": 0.2,
    }  # fmt: skip
    assert (found["sweeps"][0]["best"], found["sweeps"][0]["value"]) == (None, None)
    write_sweep(store, "tall-gnu-3", day=3, best=None, state="running")
    assert call("runs", "--store", str(store), "--json").json["sweeps"][0]["state"] == "killed", (
        "nothing holds its lock"
    )
    shown = " ".join(call("show", "tall-gnu-3", "--store", str(store)).out.split())
    assert "The sweep was killed; the same command goes on with what is missing." in shown
    (store / "grids" / "tall-gnu-3.json").unlink()
    limited = call("runs", "--store", str(store), "--json", "--limit", "1").json
    assert [len(limited[each]) for each in ("runs", "sweeps")] == [1, 1]
    shown = " ".join(call("runs", "--store", str(store)).out.split())
    assert "3 (1 failed) eval_accuracy 0.2000 train.learning_rate = 0.002" in shown


@pytest.mark.parametrize("word", ["tall-elk-1", "tall", "topics"])
def test_show_prints_the_cells_of_a_sweep(store: Path, word: str) -> None:
    shown = call("show", word, "--store", str(store))
    assert shown.code == 0, shown.err
    for expected in (
        "0.2000", "0.1000", "red-ant-1", "red-bee-2", "learning_rate=9: the loss diverged", "2 of 3 cells succeeded",
        "test_accuracy 0.25", f"report: {store / 'grid.html'}", "finetune run CONFIG train.learning_rate=0.002",
    ):  # fmt: skip
        assert expected in shown.out, expected
    assert call("show", word, "--store", str(store), "--json").json["cells"][0]["run"] == "red-ant-1"


def test_a_name_means_the_newest_run_or_sweep(store: Path) -> None:
    write_run(store, "later-1", "2026-01-02T00")
    assert call("show", "topics", "--store", str(store), "--json").json["run"] == "later-1"
    assert call("show", "red-a", "--store", str(store), "--json").json["run"] == "red-ant-1"
    write_run(store, "tall-cat-3", "2026-01-02T00")
    both = call("show", "tall", "--store", str(store))
    assert both.code == 2 and "tall-cat-3, tall-elk-1" in both.err
    wrong = call("show", "tall-elk-11", "--store", str(store))
    assert wrong.code == 2 and "did you mean 'tall-elk-1'?" in wrong.err


def test_compare_takes_cells_and_says_so_of_a_sweep(store: Path) -> None:
    assert call("compare", *RATES, "--store", str(store)).code == 0
    refused = call("compare", "tall-elk-1", "red-ant-1", "--store", str(store))
    assert refused.code == 2
    assert "'tall-elk-1' is a sweep; give the run of one of its cells, such as red-ant-1 or red-bee-2" in refused.err


def test_what_is_torn_or_of_an_older_version_stops_no_list(store: Path) -> None:
    (store / "grids" / "torn.json").write_text('{"grid": "to')
    path = store / "grids" / "tall-elk-1.json"
    record = json.loads(path.read_text())
    for name in ("started", "ended", "name", "task", "model", "report"):
        del record[name]
    path.write_text(json.dumps({**record, "rungs": [{"share": 0.5, "groups": 3, "agreement": None}] * 2}))
    assert [each["sweep"] for each in call("runs", "--store", str(store), "--json").json["sweeps"]] == ["tall-elk-1"]
    assert call("runs", "--store", str(store)).code == call("show", "tall-elk-1", "--store", str(store)).code == 0


def test_gc_keeps_the_last_sweeps_and_their_best_runs(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        write_sweep(tmp_path, f"sweep-{day}", day)
        write_run(tmp_path, f"best-of-sweep-{day}", f"2026-01-{day:02}T10")
    for day in (4, 5):
        write_run(tmp_path, f"run-{day}", f"2026-01-{day:02}T10")
    store = Store(str(tmp_path))

    def there(folder: str) -> list[str]:
        return sorted(Path(name).stem for name in store.backend.names(folder))

    collect(store, keep_runs=2, grace_hours=24, sweep=True)
    assert there("grids") == ["sweep-1", "sweep-2", "sweep-3"], "nothing young goes"
    collect(store, keep_runs=2, grace_hours=0, sweep=True)
    assert there("grids") == ["sweep-2", "sweep-3"]
    assert there("runs") == ["best-of-sweep-2", "best-of-sweep-3", "run-4", "run-5"]
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert there("grids") == there("runs") == []


@pytest.mark.parametrize("verb", ["runs", "show"])
def test_neither_torch_nor_prefect_is_imported(store: Path, verb: str) -> None:
    words = {"runs": [], "show": ["tall-elk-1"]}[verb]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, verb, *words, "--store", str(store)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stderr.splitlines()[-1])
    assert not {"torch", "transformers", "prefect", "matplotlib", "datasets"} & set(took["modules"])


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"agreement": 0.5, "common": 4}, "rank correlation with the rung before 0.50"),
        ({"agreement": None, "common": 2}, "(2 scored at both, at least 3 are needed)"),
        ({"agreement": None, "common": 4}, "(equal scores)"),
    ],
)
def test_a_missing_rank_correlation_is_explained(second: dict[str, Any], said: str) -> None:
    first = {"share": 0.25, "groups": 4, "agreement": None, "common": 0}
    lines = lead({**FINISHED, "cells": [], "best": None, "rungs": [first, {"share": 1.0, "groups": 2, **second}]})
    halving = next(line for line in lines if line.startswith("Halving"))
    assert said in halving and halving.count("rank correlation") == 1
    assert any("mostly chance" in line for line in lines) is (second["agreement"] is not None)


def test_the_best_cell_is_described_by_the_metrics_of_its_task() -> None:
    metrics = {f"test_{name}": 0.5 for name in ("accuracy", "f1_macro", "loss", "matthews", "precision_macro")}
    best = {"overrides": {}, "metrics": metrics, "path": "out"}
    line = next(line for line in lead({**FINISHED, "metric": "eval_loss", "cells": [], "best": best}) if "Best" in line)
    assert "scored once: test_loss 0.5, test_accuracy 0.5, test_f1_macro 0.5, test_precision_macro 0.5." in line
