"""What a run can reach or is writing is never removed; what nobody needs is."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tasks import STAGES
from tasks.artifacts.lease import flock_lease
from tasks.artifacts.ref import ArtifactRef
from tasks.artifacts.store import Store
from tasks.artifacts.upkeep.gc import collect
from tasks.artifacts.upkeep.scrub import scrub
from tests.kill.warm import Warm, warm_parent
from tests.tiny import make_config


def publish(store: Store, number: int, shared: bool = False) -> str:
    """A small artifact of stage 5, named by its number."""
    key = f"{number:064d}"
    with store.lease("s05_tokenize", key), store.building("s05_tokenize", key) as out:
        (out / "summary.json").write_text("the same" if shared else f"number {number}")
        store.publish("s05_tokenize", key, {"number": number}, out, facts={}, run="r", seconds=0)
    return key


def note(store: Store, name: str, keys: list[str], state: str = "completed", started: str = "2026-01-01") -> None:
    stages = [{"stage": "s05_tokenize", "key": key} for key in keys]
    store.backend.write(
        f"runs/{name}.json", json.dumps({"state": state, "started": started, "stages": stages}).encode()
    )


def there(store: Store, key: str) -> bool:
    return isinstance(store.lookup("s05_tokenize", key), ArtifactRef)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file() and "locks" not in path.parts}


def two_hours_old(path: Path) -> None:
    then = time.time() - 7200
    os.utime(path, (then, then))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_dry_run_removes_nothing(store: Store, tmp_path: Path) -> None:
    publish(store, 1)
    note(store, "old", [])
    before = contents(tmp_path)
    found = collect(store, keep_runs=0, grace_hours=0)
    assert len(found.names) >= 3 and found.size > 0
    assert contents(tmp_path) == before


def test_the_last_runs_and_living_ones_keep_what_they_refer_to(store: Store) -> None:
    keys = [publish(store, number) for number in range(5)]
    note(store, "oldest", [keys[0]], started="2026-01-01")
    note(store, "living", [keys[1]], state="running", started="2026-01-02")
    note(store, "killed", [keys[4]], state="running", started="2026-01-02")
    note(store, "newest", [keys[2]], started="2026-01-03")
    with store.run_lock("living"):
        assert collect(store, keep_runs=1, grace_hours=1, sweep=True).names == [], "nothing is an hour old"
        collect(store, keep_runs=1, grace_hours=0, sweep=True)
    assert [there(store, key) for key in keys] == [False, True, True, False, False]
    assert {Path(name).stem for name in store.backend.names("runs")} == {"living", "newest"}
    assert list(scrub(store)) == []


def test_the_checkpoints_of_a_killed_run_stay_while_it_is_among_the_last(store: Store, tmp_path: Path) -> None:
    checkpoint = store.work("s09_train", "a" * 64) / "keep" / "checkpoint-3" / "model.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    run = {
        "run": "killed",
        "state": "running",
        "started": "2026-01-01",
        "stages": [],
        "building": ["s09_train", "a" * 64],
    }
    store.backend.write("runs/killed.json", json.dumps(run).encode())
    collect(store, keep_runs=1, grace_hours=0, sweep=True)
    assert checkpoint.exists()
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert not checkpoint.exists()


def test_a_shared_blob_stays_for_who_is_left(store: Store) -> None:
    one, other = publish(store, 1, shared=True), publish(store, 2, shared=True)
    note(store, "run", [other])
    collect(store, keep_runs=1, grace_hours=0, sweep=True)
    assert (there(store, one), there(store, other)) == (False, True)


def test_nothing_young_goes(store: Store, tmp_path: Path) -> None:
    old, young = publish(store, 1), publish(store, 2)
    for path in (*tmp_path.rglob(f"{old}.json"), *tmp_path.rglob("blobs/*")):
        two_hours_old(path)
    collect(store, keep_runs=0, grace_hours=1, sweep=True)
    assert (there(store, old), there(store, young)) == (False, True)


def test_what_is_being_built_stays_with_all_its_work(store: Store) -> None:
    key, other = f"{1:064d}", f"{2:064d}"
    for each in (key, other):
        (store.work("s09_train", each) / "keep" / "checkpoint-3").mkdir(parents=True)
        (store.work("s09_train", each) / "keep" / "checkpoint-3" / "model.safetensors").write_text("weights")
    with store.lease("s09_train", key), store.building("s09_train", key) as out:
        collect(store, keep_runs=0, grace_hours=0, sweep=True)
        assert out.is_dir()
        assert (store.work("s09_train", key) / "keep" / "checkpoint-3" / "model.safetensors").exists()
    assert not store.work("s09_train", other).exists()


def test_an_empty_build_folder_is_somebodys_too(store: Store) -> None:
    with store.lease("s10_evaluate", "a" * 64), store.building("s10_evaluate", "a" * 64) as out:
        collect(store, keep_runs=0, grace_hours=24, sweep=True)
        assert out.is_dir()


def test_what_is_published_but_not_noted_yet_stays(store: Store) -> None:
    """The lease is held until the run has noted the artifact: until then nothing else speaks for it."""
    key = publish(store, 1)
    assert store.local is not None
    with flock_lease(store.local.path(f"locks/s05_tokenize-{key}.lock")):
        collect(store, keep_runs=0, grace_hours=0, sweep=True)
        assert there(store, key)
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert not there(store, key)


def test_a_half_written_file_has_an_hour(store: Store) -> None:
    publish(store, 1)
    assert store.local is not None
    young, old = (store.local.root / "records" / "s05_tokenize" / f"{name}.tmp" for name in ("young", "old"))
    for path in (young, old):
        path.write_text("half")
    two_hours_old(old)
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert (young.exists(), old.exists()) == (True, False)


def test_all_goes_when_nothing_is_kept(store: Store) -> None:
    keys = [publish(store, number) for number in range(3)]
    note(store, "run", keys)
    collect(store, keep_runs=0, grace_hours=0, sweep=True)
    assert [list(store.backend.names(folder)) for folder in ("records", "blobs", "runs", "work")] == [[]] * 4


def test_a_remote_root_is_collected_too() -> None:
    store = Store("memory")
    kept, dead = publish(store, 1), publish(store, 2)
    note(store, "run", [kept])
    collect(store, keep_runs=1, grace_hours=0, sweep=True)
    assert (there(store, kept), there(store, dead)) == (True, False)


# -- with real runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sweeping_without_end_breaks_no_run(bert: Path, rows: Path, tmp_path: Path) -> None:
    warm: Warm = warm_parent()
    root, stop, go, events = (tmp_path / name for name in ("store", "stop", "go", "events"))
    go.touch()
    sweeper = warm.start("tests.race.scenes:sweep_until", root=str(root), stop=str(stop))
    results: list[dict[str, Any]] = []
    try:
        for seed in (1, 1, 2, 1):
            config = make_config(bert, rows, root, train__max_steps=4, seed=seed, train__save_strategy="steps")
            config["train"]["save_steps"] = 1
            arguments = {"config": config, "events": str(events), "go": str(go), "slowly": 0.02}
            results.append(warm.play("tests.race.scenes:build_aloud", **arguments).result)
    finally:
        stop.touch()
    rounds = sweeper.wait().result
    assert rounds > 20, "the sweeper must have been at work all the while"
    assert results[0]["weights"] == results[1]["weights"] == results[3]["weights"]
    assert set(results[3]["stages"]) == set(STAGES)

    collect(Store(str(root)), keep_runs=0, grace_hours=0, sweep=True)
    assert not list(root.glob("records/*/*")) and not list(root.glob("blobs/*"))
