"""Why a stage is built: compared with the last run of its kind, and with no other."""

import json
from pathlib import Path
from typing import Any

from tasks.artifacts.keys.explain import explain, summarize
from tasks.artifacts.keys.key import key_of
from tasks.artifacts.store import Miss, Store
from tasks.runtime.previous_run import keys_before

GONE = Miss("MISSING", "not built yet")


def publish(store: Store, out: Path, document: dict[str, Any]) -> str:
    out.mkdir(exist_ok=True)
    return store.publish("s", key_of(document), document, out, facts={}, run="r", seconds=0.0).key


def test_reasons_compare_with_the_run_before_and_no_other(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    ours = {"config": {"rate": 1, "model": "a"}, "files": {"train": "x"}, "inputs": {"head": "1"}}
    before = publish(store, tmp_path / "out", ours)
    publish(store, tmp_path / "out", {"config": {"rate": 2, "model": "b"}, "files": {"else": "x"}})  # somebody else's
    new = {**ours, "config": {"rate": 2, "model": "a"}}

    def said(keys: dict[str, str] | None, document: dict[str, Any] = new, miss: Miss = GONE) -> str:
        return summarize(explain(store, "s", document, miss, keys))

    assert said({"s": before}) == "CONFIG: rate 1 → 2"
    assert said(None) == "MISSING: first run" and said({"other": before}) == "MISSING: not built yet"
    assert said({"s": "0" * 64}) == "MISSING: not built yet" and said({"s": before}, ours) == "MISSING: not built yet"
    assert said({"s": before}, miss=Miss("DAMAGED", "torn")) == "DAMAGED: torn"
    all_of_it = {"config": {"rate": 2, "model": "b", "c": 1, "d": 2}, "files": {"train": "y"}}
    assert said({"s": before}, all_of_it) == "CONFIG: model a → b, rate 1 → 2, c None → 1 (and 3 more)"


def test_the_run_before_is_that_of_the_same_name_else_file_else_folder(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    for at, (run, what) in enumerate({
        "one": {"name": "reviews", "config_file": "/a.yaml", "model_path": "/out"},
        "two": {"name": "other", "config_file": "/a.yaml", "model_path": "/elsewhere"},
        "three": {"name": None, "config_file": None, "model_path": "/out"},
        "four": {"name": "other", "config_file": None, "model_path": None, "stages": []},
    }.items()):  # fmt: skip
        record = {"run": run, "started": f"2026-01-0{at + 1}", "stages": [{"stage": "s", "key": run}], **what}
        store.backend.write(f"runs/{run}.json", json.dumps(record).encode())

    def before(but: str = "", **summary: str | None) -> Any:
        found = keys_before(store, summary, but)
        return found and found.get("s")

    assert before(name="reviews", config_file="/a.yaml", model_path="/out") == "one"
    assert before(name="new", config_file="/a.yaml", model_path="/out") == "two"
    assert before(name=None, config_file=None, model_path="/out") == "three"
    assert before(name="other") == "two", "one that ended early hides nothing"
    assert before(name="new", config_file=None) is None and keys_before(store, {"name": None}, "") is None
    assert before(but="one", name="reviews") is None
