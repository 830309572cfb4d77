"""What lies in `output_dir` is overwritten only if it is ours, and said; a run's files never mix with another's."""

import errno
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.artifacts.artifact import Artifact
from tasks.artifacts.backend import sha256_file
from tasks.artifacts.store import DamagedBlob, Store
from tasks.config import ConfigError, load, to_yaml
from tasks.execution.preflight import check_paths
from tasks.objectives.text_classification import TEXT_CLASSIFICATION
from tasks.results import export
from tasks.results.export import export_folder, write_report
from tasks.results.output_dir import DONE, REPORT, RESOLVED, only_writer, written
from tasks.runtime.context import RunContext, open_run
from tests.flow.scenes import executed, files
from tests.tiny import make_config

PERSON = {"README.md": "# My project", "config.json": "{}", "model.safetensors": "mine", "notes/todo.txt": "much"}
ONE = {"config.json": "{}", "model.safetensors": "one" * 99, "README.md": "# one"}
TWO = {"config.json": "{}", "model.safetensors": "two" * 99, "adapter.safetensors": "more"}


def put(folder: Path, contents: Mapping[str, str]) -> None:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def texts(folder: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in files(folder).items()}


def config_of(tmp_path: Path, output: Path | str, **more: Any) -> Any:
    config = make_config(Path("m"), Path("d.csv"), tmp_path / "store", output_dir=str(output), **more)
    return load(config).config


def saved(tmp_path: Path, contents: Mapping[str, str], verify: Any = "full") -> Artifact:
    """A model artifact with these files."""
    store, key = Store(str(tmp_path / "store"), verify), f"{abs(hash(tuple(contents.items()))):064x}"
    with store.building("s11_save", key) as out:
        put(out, contents)
        return Artifact(store.publish("s11_save", key, {}, out, facts={}, run="r", seconds=0.0), store)


def bring(model: Artifact, out: Path, run: str = "run-1", resolved: str = "", overwrite: bool = False) -> str:
    context = RunContext(model.store, run, overwrite=overwrite)
    with open_run(context):
        return export_folder(model, TEXT_CLASSIFICATION, str(out), "always", resolved, model, "m", model, model)


# -- whose folder it is ---------------------------------------------------------------------------------------------


def test_a_person_s_folder_is_refused_and_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, PERSON)
    config = config_of(tmp_path, out)
    for probe in (True, False):
        with pytest.raises(ConfigError, match=r"no run wrote \(README.md, config.json, .*--overwrite"):
            check_paths(config, Store("memory"), probe)
    with pytest.raises(ConfigError, match="no run wrote"):
        bring(saved(tmp_path, ONE), out)  # put there while the run was training
    assert texts(out) == PERSON
    assert "README.md" in str(check_paths(config, Store("memory"), True, overwrite=True))
    bring(saved(tmp_path, ONE), out, overwrite=True)
    assert texts(out).items() >= {**PERSON, **ONE}.items()


def test_a_run_refuses_it_before_anything_is_built(tmp_path: Path) -> None:
    put(tmp_path / "out", PERSON)
    with pytest.raises(ConfigError, match="no run wrote"):
        executed(make_config(Path("m"), Path("d.csv"), tmp_path / "store", output_dir=str(tmp_path / "out")))
    assert texts(tmp_path / "out") == PERSON and not (tmp_path / "store" / "records").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_are_never_an_output_folder(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home", "data/deep", "store/blobs", "link"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link" / "data").symlink_to(tmp_path / "data")
    store = Store(str(tmp_path / "store"))
    places = ("/", "~", tmp_path / "store", tmp_path / "store/blobs/x", tmp_path / "data", tmp_path / "data/deep/new",
              tmp_path / "link/data", tmp_path / "data/../store")  # fmt: skip
    for place in places:
        config = config_of(tmp_path, place, data__train=[str(tmp_path / "data")], export__overwrite=overwrite)
        with pytest.raises(ConfigError, match=r"output_dir: .*choose a"):
            check_paths(config, store, True)


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ({"name": "a"}, {"name": "a", "train__learning_rate": 1e-4}, None),
        ({"name": "a"}, {"name": "a", "model__name": "n", "task": "regression"}, None),
        ({"name": "a"}, {"name": "b"}, "name: a, here b"),
        ({}, {"name": "b"}, None),
        ({}, {"train__learning_rate": 1e-4}, None),
        ({}, {"task": "regression"}, "task: text-classification, here regression"),
        ({}, {"model__name": "n"}, r"model\.name: m, here n"),
        ({"name": "a"}, {"data__train": "e.csv"}, r"data\.train: d\.csv, here e\.csv"),
    ],
)
def test_another_config_s_model_is_refused(
    first: dict[str, Any], second: dict[str, Any], refused: str | None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bring(saved(tmp_path, ONE), out, resolved=to_yaml(config_of(tmp_path, out, **first), {}))
    before, now = texts(out), config_of(tmp_path, out, **second)
    if refused is None:
        check_paths(now, Store("memory"), True)
        assert bring(saved(tmp_path, TWO), out, resolved=to_yaml(now, {}))
        return
    with pytest.raises(ConfigError, match=f"another config .{refused}"):
        check_paths(now, Store("memory"), True)
    with pytest.raises(ConfigError, match=refused):
        bring(saved(tmp_path, TWO), out, resolved=to_yaml(now, {}))
    assert texts(out) == before
    check_paths(now, Store("memory"), True, overwrite=True)
    if "name" not in second:  # a sweep's best cell may differ from the one before
        check_paths(now, Store("memory"), True, varied={"task", "model.name", "data.train"})


def test_what_is_overwritten_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one, two = (config_of(tmp_path, out, name="a", train__learning_rate=rate) for rate in (2e-4, 1e-4))
    bring(saved(tmp_path, ONE), out, "taupe-mussel", to_yaml(one, {}))
    assert check_paths(one, Store("memory"), True) is None
    said = check_paths(two, Store("memory"), True)
    assert said == f"{out} holds the model of run taupe-mussel (train.learning_rate 0.0002 → 0.0001)"
    assert bring(saved(tmp_path, TWO), out, "other") == f"written to {out}, in place of run taupe-mussel's"


def test_what_a_killed_run_left_is_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, {".finetune-0.tmp": "", ".finetune-staging-1/model.safetensors": "half", "grid/grid.json": "{}"})
    check_paths(config_of(tmp_path, out), Store("memory"), True)
    bring(saved(tmp_path, ONE), out)
    assert ".finetune-staging-1/model.safetensors" not in files(out)


# -- what is removed ------------------------------------------------------------------------------------------------


def test_what_the_last_run_brought_goes_and_a_person_s_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    bring(saved(tmp_path, {**TWO, "part/model.safetensors": "deep", "extra.json": "{}"}), out)
    put(out, {"extra.json": "edited", "predictions.csv": "a person's", "config.json": "edited"})
    bring(saved(tmp_path, ONE), out)
    assert texts(out).items() >= {**ONE, "extra.json": "edited", "predictions.csv": "a person's"}.items()
    assert not (out / "adapter.safetensors").exists() and not (out / "part").exists()
    assert "extra.json was changed since a run wrote it: not removed" in caplog.text
    assert "config.json was changed since a run wrote it; it is replaced" in caplog.text


NAMES = ["../victim.txt", "{tmp}/victim.txt", "a/../../victim.txt", "link/victim.txt", "victim.txt"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("digest", [None, "its own", "another"])
def test_a_foreign_finetune_json_removes_nothing(name: str, digest: str | None, tmp_path: Path) -> None:
    out, name = tmp_path / "out", name.format(tmp=tmp_path)
    put(
        tmp_path,
        {"victim.txt": "kept", "out/config.json": "{}", "elsewhere/victim.txt": "kept", "out/victim.txt": "kept"},
    )
    (out / "link").symlink_to(tmp_path / "elsewhere")
    known = {None: None, "its own": sha256_file(tmp_path / "victim.txt"), "another": "ab" * 32}[digest]
    (out / DONE).write_text(
        json.dumps({"key": "x", "files": {name: known}, "before": {name: [known] if known else []}})
    )
    for overwrite in (False, True):
        try:
            bring(saved(tmp_path, ONE), out, overwrite=overwrite)
        except ConfigError:
            continue
    assert (tmp_path / "victim.txt").exists() and (tmp_path / "elsewhere/victim.txt").exists()
    # In the folder itself goes only what has the very bytes that a run is said to have brought there.
    assert (out / "victim.txt").exists() is not (name == "victim.txt" and digest == "its own")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


forged = st.fixed_dictionaries({"files": anything}, optional={"key": anything, "before": anything})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary() | anything | st.fixed_dictionaries({"files": anything}, optional={"key": anything, "before": anything})
)
def test_any_finetune_json_is_ours_or_not(tmp_path_factory: pytest.TempPathFactory, said: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "said"
    folder.mkdir(exist_ok=True)
    (folder / DONE).write_bytes(said if isinstance(said, bytes) else json.dumps(said).encode())
    found = written(folder)
    assert found is None or all(".." not in name.split("/") and name[:1] != "/" for name in found.files)


def test_a_link_out_of_the_folder_is_not_written_through(tmp_path: Path) -> None:
    out = tmp_path / "out"
    bring(saved(tmp_path, ONE), out)
    (tmp_path / "elsewhere").mkdir()
    (out / "part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        bring(saved(tmp_path, {"part/model.safetensors": "x"}), out)
    assert texts(out).items() >= ONE.items() and not list((tmp_path / "elsewhere").iterdir())


# -- one run at a time ----------------------------------------------------------------------------------------------


def test_two_runs_at_once_do_not_mix(tmp_path: Path) -> None:
    """The second waits for the first, and then replaces all of it."""
    out, models = tmp_path / "out", [saved(tmp_path, each) for each in (ONE, TWO)]
    out.mkdir()
    threads = [threading.Thread(target=bring, args=(model, out)) for model in models]
    with only_writer(out):
        for thread in threads:
            thread.start()
        assert not (out / DONE).exists() and not list(out.iterdir())
    for thread in threads:
        thread.join()
    there = {name: text for name, text in texts(out).items() if name not in (DONE, RESOLVED)}
    assert there in (ONE, TWO)
    assert json.loads((out / DONE).read_text())["key"] in [model.ref.key for model in models]


def test_a_report_is_of_the_model_that_lies_there(tmp_path: Path) -> None:
    out, one, two = tmp_path / "out", saved(tmp_path, ONE), saved(tmp_path, TWO)
    bring(one, out)
    bring(two, out)
    write_report(out, one.ref.key, lambda: "of the first")
    assert not (out / REPORT).exists()
    write_report(out, two.ref.key, lambda: "of the second")
    write_report(out, two.ref.key, lambda: "again")
    assert (out / REPORT).read_text() == "of the second"
    bring(one, out)
    assert not (out / REPORT).exists()


def test_a_full_disk_leaves_the_old_model_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    bring(saved(tmp_path, ONE), out)
    before = texts(out)
    monkeypatch.setattr(export.shutil, "copyfile", refuse)
    with pytest.raises(OSError, match="No space"):
        bring(saved(tmp_path, TWO), out)
    assert texts(out) == before


@pytest.mark.parametrize("number", range(1, 4))
def test_a_run_killed_at_it_is_made_good_by_the_next(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, one, two = tmp_path / "out", saved(tmp_path, ONE), saved(tmp_path, TWO)
    bring(one, out)
    calls, replace = [0], os.replace

    def die(*given: Any) -> None:
        calls[0] += 1
        if calls[0] > number:
            raise KeyboardInterrupt
        replace(*given)

    with monkeypatch.context() as patched:
        patched.setattr(export.os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            bring(two, out)
    found = written(out)
    assert found is not None and found.key is None
    bring(one, out)
    assert {name: text for name, text in texts(out).items() if name not in (DONE, RESOLVED)} == ONE


# -- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["full", "size"])
def test_a_blob_that_changed_unseen_is_never_exported(verify: Any, tmp_path: Path) -> None:
    model = saved(tmp_path, ONE, verify)
    blob = tmp_path / "store/blobs" / model.ref.members["model.safetensors"].sha256
    status = blob.stat()
    blob.write_text("0ne" * 99)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DamagedBlob):
        bring(Artifact(model.ref, Store(str(tmp_path / "store"), verify)), tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists() and not blob.exists()
