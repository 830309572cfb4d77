"""Without `--overwrite`, a run writes only into a folder that a run provably wrote, and never into some places."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts.store import Store
from tasks.config import ConfigError, load, to_yaml
from tasks.execution.preflight import check_paths
from tasks.results.output_dir import DONE, REPORT, RESOLVED
from tests.flow.test_output import ONE, TWO, bring, config_of, put, saved, texts

MINE = {"config.json": "mine", "model.safetensors": "mine"}


def refused(config: Any, out: Path, says: str) -> None:
    """Both the check before the run and the one before writing refuse the folder, and leave it as it is."""
    before = texts(out)
    with pytest.raises(ConfigError, match=says):
        check_paths(config, Store("memory"), True)
    with pytest.raises(ConfigError, match=says):
        bring(saved(out.parent, TWO), out, resolved=to_yaml(config, {}))
    assert texts(out) == before
    check_paths(config, Store("memory"), True, overwrite=True)


@pytest.mark.parametrize(
    "said",
    [
        {"files": {}},
        {"key": "k", "run": "r", "files": {}},
        {"key": "k", "files": {"config.json": None, "model.safetensors": None}},
        {"key": "k", "files": {"config.json": "ab" * 32}},
        {"key": None, "files": {}, "before": {"config.json": ["ab" * 32]}},
        {"key": "k", "files": {"gone.json": "ab" * 32}},
        {"files": []},
        {"files": {"config.json": 1}},
        {"files": {"../x": None}},
        [],
        None,
        "text",
        1,
    ],
    ids=json.dumps,
)
def test_a_list_of_files_that_proves_nothing_makes_no_folder_ours(said: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = config_of(tmp_path, out)
    put(out, {**MINE, DONE: json.dumps(said), RESOLVED: to_yaml(config, {})})
    refused(config, out, r"no run wrote \(config\.json, .*--overwrite")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"0" * 5000])
def test_a_broken_list_of_files_makes_no_folder_ours(content: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, MINE)
    (out / DONE).write_bytes(content)
    with pytest.raises(ConfigError, match="no run wrote"):
        check_paths(config_of(tmp_path, out), Store("memory"), True)


@pytest.mark.parametrize("name", [REPORT, RESOLVED, ".git/HEAD", "data.csv", "checkpoint-5/model.safetensors"])
def test_one_file_of_a_person_is_enough(name: str, tmp_path: Path) -> None:
    put(tmp_path / "out", {name: "mine"})
    refused(config_of(tmp_path, tmp_path / "out"), tmp_path / "out", "no run wrote")


@pytest.mark.parametrize("content", [None, "", "a: [", "- 1", "1", "a: 1", "task: regression", "model: m\ndata: d.csv"])
def test_a_model_of_an_unknown_config_is_refused(content: str | None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = config_of(tmp_path, out, name="a")
    bring(saved(tmp_path, ONE), out, resolved=to_yaml(config, {}))
    (out / RESOLVED).unlink()
    if content is not None:
        (out / RESOLVED).write_text(content)
    refused(config, out, r"model of an unknown config .*config\.resolved\.yaml.*--overwrite")


def test_a_model_with_files_missing_changed_or_added_is_still_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = config_of(tmp_path, out)
    bring(saved(tmp_path, ONE), out, resolved=to_yaml(config, {}))
    (out / "README.md").unlink()
    put(out, {"model.safetensors": "changed", "predictions.csv": "mine"})
    check_paths(config, Store("memory"), True)
    bring(saved(tmp_path, ONE), out, resolved=to_yaml(config, {}))
    assert texts(out).items() >= {**ONE, "predictions.csv": "mine"}.items()
    put(out, dict.fromkeys(ONE, "changed"))
    refused(config, out, "no run wrote")


def test_links(tmp_path: Path) -> None:
    """A link to a folder is that folder; one to nothing, or to itself, is refused before anything is built."""
    ours, mine = tmp_path / "ours", tmp_path / "mine"
    put(mine, MINE)
    bring(saved(tmp_path, ONE), ours, resolved=to_yaml(config_of(tmp_path, ours), {}))
    for name, target in (("a", ours), ("b", mine), ("c", tmp_path / "nowhere"), ("d", tmp_path / "d")):
        (tmp_path / name).symlink_to(target)
    check_paths(config_of(tmp_path, tmp_path / "a"), Store("memory"), True)
    for name, says in (("b", "no run wrote"), ("c", "a broken symbolic link"), ("d/x", "a broken symbolic link")):
        with pytest.raises(ConfigError, match=f"output_dir: .*{says}"):
            check_paths(config_of(tmp_path, tmp_path / name), Store("memory"), True)
    bring(saved(tmp_path, TWO), tmp_path / "a")
    assert (tmp_path / "a").is_symlink() and texts(ours).items() >= TWO.items()


@pytest.mark.parametrize("place", ["base", "adapter", "link"])
def test_the_base_is_never_overwritten(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "base", MINE)
    put(tmp_path / "adapter", {"adapter_config.json": json.dumps({"base_model_name_or_path": "base"})})
    (tmp_path / "link").symlink_to(tmp_path / "base")
    name, output = ("adapter", "base") if place == "adapter" else ("base", place)
    with pytest.raises(ConfigError, match=r"output_dir: .*weights would be overwritten"):
        check_paths(config_of(tmp_path, output, model__name=name), Store("memory"), True, overwrite=True)


@pytest.mark.parametrize(
    "text", ["[]", "{}", "1", "{", '{"base_model_name_or_path": []}', '{"base_model_name_or_path": "%s"}']
)
def test_an_adapter_without_a_readable_base_stops_no_check(text: str, tmp_path: Path) -> None:
    put(tmp_path / "adapter", {"adapter_config.json": text.replace("%s", "a" * 300)})
    (tmp_path / "out").mkdir()
    check_paths(config_of(tmp_path, tmp_path / "out", model__name=str(tmp_path / "adapter")), Store("memory"), True)


def test_the_working_directory_and_folders_in_a_model_are_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"d.csv": "text,label\n"})
    with pytest.raises(ConfigError, match=r"no run wrote .d\.csv"):
        check_paths(config_of(tmp_path, "."), Store("memory"), True)
    put(tmp_path / "base", {**MINE, "part/config.json": "mine"})
    with pytest.raises(ConfigError, match=r"no run wrote .config\.json"):
        check_paths(config_of(tmp_path, "base/part", model__name="base"), Store("memory"), True)
    check_paths(config_of(tmp_path, "base/new", model__name="base"), Store("memory"), True)


@pytest.mark.parametrize("source", ["~nosuchuser/x.csv", "a\0b", "sql:$DB::SELECT " + "a, " * 200 + "b"])
def test_a_source_that_is_no_path_stops_no_check(source: str, tmp_path: Path) -> None:
    check_paths(config_of(tmp_path, tmp_path / "out", data__train=source), Store("memory"), True)


@pytest.mark.parametrize(
    ("train", "out", "reads"),
    [
        ("data/*", "data", True),
        ("data/*.json", "data", True),
        ("data/**/*.md", "data/model", True),
        ("dat?/*", "data", True),
        ("data", "data/model", True),
        ("data/*.csv", "data", False),
        ("data/*", "data/model", False),
        ("data/*", "model", False),
        ("*/rows.json", "data", False),
    ],
)
def test_a_folder_whose_files_are_read_as_data_is_refused(
    train: str, out: str, reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "data", {"rows.csv": "text,label\na,b\n"})
    config = load({"model": "m", "data": train, "output_dir": out, "name": "n"}).config
    if reads:
        with pytest.raises(ConfigError, match=r"output_dir: data\.train .* reads the files in"):
            check_paths(config, Store("memory"), True, overwrite=True)
    else:
        check_paths(config, Store("memory"), True, overwrite=True)
