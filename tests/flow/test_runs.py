"""`finetune runs`, `show` and `compare`: what the store remembers of runs, with neither a server nor torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.record import Record
from tasks.results.finetuned import FineTuned
from tests.flow import scenes
from tests.flow.scenes import executed
from tests.flow.test_cli import PROBE, call
from tests.tiny import make_config, make_rows

OLD_FIELDS = ("run", "state", "started", "building", "stages", "name", "given", "model_path", "config")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, bert: Path, rows: Path) -> tuple[Path, FineTuned, FineTuned]:
    """A store with two runs: the second has another learning rate, more rows and another code of stage 10."""
    folder = tmp_path_factory.mktemp("two")
    config = make_config(bert, rows, folder / "store", train__max_steps=2, name="first", output_dir=str(folder / "out"),
                         export__overwrite=True)  # fmt: skip
    one = executed(config)
    more = make_rows(folder / "more.csv", 99)
    words = (f"data.train={more}", "train.learning_rate=1e-3", "name=second")
    other = executed(config, *words, stages={"s10_evaluate": scenes.good})
    return folder / "store", one, other


@pytest.fixture
def store(two: tuple[Path, FineTuned, FineTuned], tmp_path: Path) -> Path:
    """A copy of that store, to be changed at will."""
    return Path(shutil.copytree(two[0], tmp_path / "store"))


def note(store: Path, run: str, **fields: Any) -> None:
    path = store / "runs" / f"{run}.json"
    record = json.loads(path.read_text()) if path.exists() else {"run": run, "started": "2020-01-01T00:00:00+00:00"}
    path.write_text(json.dumps({**record, **fields}))


def listed(store: Path, *words: str) -> list[dict[str, Any]]:
    answer = call("runs", "--store", str(store), "--json", *words)
    assert answer.code == 0 and len(answer.out.splitlines()) == 1
    return answer.json["runs"]


def test_runs_are_listed_newest_first(two: tuple[Path, FineTuned, FineTuned], bert: Path) -> None:
    store, one, other = two
    found = listed(store)
    assert [each["run"] for each in found] == [other.run, one.run]
    assert found[0] == {
        "run": other.run, "state": "completed", "started": found[0]["started"], "name": "second",
        "task": "text-classification", "model": str(bert), "metric": "test_accuracy", "value": 0.91,
        "model_path": str(store.parent / "out"), "kept": None,
    }  # fmt: skip
    assert found[1]["value"] == one.metrics["test_accuracy"]
    assert [each["run"] for each in listed(store, "--limit", "1")] == [other.run]
    shown = call("runs", "--store", str(store)).out
    assert shown.index(other.run) < shown.index(one.run) and "test_accuracy 0.9100" in shown


def test_a_record_of_before_still_lists_and_shows(store: Path, two: tuple[Path, FineTuned, FineTuned]) -> None:
    one = two[1]
    path = store / "runs" / f"{one.run}.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: record[name] for name in OLD_FIELDS}))
    assert {each["run"]: each["value"] for each in listed(store)}[one.run] == one.metrics["test_accuracy"]
    shown = call("show", one.run, "--store", str(store), "--json").json
    assert shown["metrics"] == one.metrics and shown["data"]["rows"]["train"] == 58
    assert call("show", one.run, "--store", str(store)).code == 0
    assert call("compare", one.run, two[2].run, "--store", str(store)).code == 0


def test_what_is_torn_or_bare_stops_no_list(store: Path) -> None:
    (store / "runs" / "torn.json").write_text('{"run": "to')
    note(store, "bare")
    assert [each["run"] for each in listed(store)][2:] == ["bare"]
    assert call("runs", "--store", str(store)).code == call("show", "bare", "--store", str(store)).code == 0


def test_a_run_that_was_killed_is_said_to_be(store: Path) -> None:
    from tasks.artifacts.store import Store

    note(store, "dead", state="running")
    note(store, "alive", state="running")
    with Store(str(store)).run_lock("alive"):
        states = {each["run"]: each["state"] for each in listed(store)}
    assert (states["dead"], states["alive"]) == ("killed", "running")


def test_a_store_without_runs(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert listed(tmp_path / "store") == []
    assert "no runs yet" in call("runs", "--store", str(tmp_path / "store")).out
    assert "has no runs yet" in call("show", "any", "--store", str(tmp_path / "store")).err
    assert call("runs", "--store", str(tmp_path / "nowhere")).code == 2


def test_show_prints_the_report(two: tuple[Path, FineTuned, FineTuned]) -> None:
    store, one, _ = two
    shown = call("show", one.run, "--store", str(store))
    assert shown.code == 0
    low, high = one.intervals["test_accuracy"]
    for expected in (
        "first  completed", one.run, f"{one.metrics['test_accuracy']:.4f}", f"{low:.4f} to {high:.4f}",
        "rows: train 58", "s09_train", "train.max_steps", str(one.path), "pipeline('text-classification'",
    ):  # fmt: skip
        assert expected in shown.out, expected


def test_a_run_is_found_by_the_beginning_of_its_name(store: Path) -> None:
    note(store, "brown-fox-1")
    note(store, "brown-fox-12")
    note(store, "brown-bear")

    def show(name: str) -> Any:
        return call("show", name, "--store", str(store), "--json")

    assert show("brown-b").json["run"] == "brown-bear"
    assert show("brown-fox-1").json["run"] == "brown-fox-1"  # its whole name, though another begins so too
    for name, said in (
        ("brown-f", "'brown-f' is ambiguous: brown-fox-1"),
        ("brown-baer", "did you mean 'brown-bear'?"),
        ("brwn-b", "did you mean 'brown-bear'?"),
        ("zzz", "the newest is "),
    ):
        answer = show(name)
        assert answer.code == 2 and said in answer.err, answer.err


def test_a_run_is_found_by_its_name_and_its_folder(
    store: Path, two: tuple[Path, FineTuned, FineTuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two[1:]
    monkeypatch.chdir(two[0].parent)

    def show(name: str) -> str:
        return call("show", name, "--store", str(store), "--json").json["run"]

    assert (show("first"), show("second"), show("out"), show(str(other.path))) == (one.run, *[other.run] * 3)
    note(store, other.run, kept="kept the current model: …")  # then the model there is the first one's
    assert show("out") == one.run
    note(store, "later", name="first", started="2999-01-01T00:00:00+00:00")
    assert show("first") == "later"


def test_compare_says_only_what_differs(two: tuple[Path, FineTuned, FineTuned]) -> None:
    store, one, other = two
    found = call("compare", one.run, other.run, "--store", str(store), "--json").json
    assert found["runs"] == [one.run, other.run]
    assert found["config"].keys() == {"name", "data.train", "train.learning_rate"}
    assert found["config"]["train.learning_rate"] == [2e-3, 1e-3]
    assert found["data"]["rows.train"] == [58, 59]
    before, after = found["data"]["rows of train"]
    assert before != after and len(before) == 12
    assert "tests.flow.scenes:good" in found["code"] and found["code"]["tests.flow.scenes:good"][0] is None
    assert "tasks.s09_train" not in found["code"]
    assert found["libraries"] == {}
    assert found["metrics"]["test_accuracy"] == [one.metrics["test_accuracy"], 0.91]
    shown = call("compare", one.run, other.run, "--store", str(store)).out
    assert "train.learning_rate" in shown and f"{0.91 - one.metrics['test_accuracy']:+.4f}" in shown
    assert "the same: libraries" in shown and "weight_decay" not in shown


def test_a_run_equals_itself(two: tuple[Path, FineTuned, FineTuned]) -> None:
    store, one, _ = two
    assert (
        "the same: config, data, code, libraries, metrics"
        in call("compare", one.run, one.run, "--store", str(store)).out
    )


def test_other_libraries_are_told(store: Path, two: tuple[Path, FineTuned, FineTuned]) -> None:
    one, other = two[1:]
    key = next(entry.key for entry in other.stages if entry.stage == "s09_train")
    path = store / "records" / "s09_train" / f"{key}.json"
    record = Record.unseal(path.read_bytes())
    environment = {**record.document["environment"], "torch": "1.0"}
    path.write_bytes(record.model_copy(update={"document": {**record.document, "environment": environment}}).seal())
    found = call("compare", one.run, other.run, "--store", str(store), "--json").json["libraries"]
    assert found.keys() == {"torch"} and "1.0" in found["torch"][1] and "1.0" not in found["torch"][0].split(", ")


@pytest.mark.parametrize("verb", ["runs", "show", "compare"])
def test_neither_torch_nor_prefect_is_imported(two: tuple[Path, FineTuned, FineTuned], verb: str) -> None:
    store, one, other = two
    words = {"runs": [], "show": [one.run], "compare": [one.run, other.run]}[verb]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, verb, *words, "--store", str(store)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stderr.splitlines()[-1])
    assert not {"torch", "transformers", "prefect", "matplotlib", "datasets"} & set(took["modules"])
